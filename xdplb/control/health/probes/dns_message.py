# SPDX-License-Identifier: Apache-2.0
"""DNS messages as far as checks need them (RFC 1035, RFC 3596, RFC 2782): a query, and the answers to it as text.

A library reads every record of an answer, which takes tens of milliseconds for 64 KiB that a backend may send. Here no
more is read than a check compares.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

__all__ = ["TYPES", "DnsError", "Reply", "query", "read_reply", "same_answer"]

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "ANY": 255,
}
_NAMES = {number: name for name, number in TYPES.items()}
_RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_IN = 1
_HEAD = struct.Struct("!HHHHHH")
_QUESTION_END = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_QR, _TC, _RD = 0x8000, 0x0200, 0x0100
_MOST_ANSWERS = 64
"""How many records of an answer are read."""
_MOST_JUMPS = 32
_LONGEST_NAME = 255


class DnsError(Exception):
    """A message that is no answer to the query; says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a query: its rcode in words, whether it was cut to fit a datagram, and its records as text."""

    rcode: str
    is_cut: bool
    answers: tuple[str, ...]


@lru_cache(maxsize=4096)
def query(name: str, kind: str) -> bytes:
    """Return a recursive query without its first two bytes, the id."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")] if name.rstrip(".") else []
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return _HEAD.pack(0, _RD, 1, 0, 0, 0)[2:] + encoded + _QUESTION_END.pack(TYPES[kind], _IN)


def read_reply(data: bytes, asked: bytes, kind: str) -> Reply | None:
    """Return the reply in a message, None if it answers another query. Raises DnsError if it is none.

    `asked` is the query with its id. Only records of the type `kind` are in the answers; ANY is all that can be read.
    """
    if len(data) < _HEAD.size:
        raise DnsError(f"{len(data)} bytes are no DNS message")
    number, flags, questions, answers, _, _ = _HEAD.unpack_from(data)
    if number != int.from_bytes(asked[:2]) or not flags & _QR:
        return None
    code = flags & 0xF
    rcode = _RCODES[code] if code < len(_RCODES) else f"RCODE{code}"
    question = asked[_HEAD.size :]
    at = _HEAD.size
    if questions == 1:
        if data[at : at + len(question)].lower() != question.lower():
            raise DnsError("it answers another question")
        at += len(question)
    elif questions or code == 0:  # some servers leave the question out where they refuse it
        raise DnsError(f"it has {questions} questions instead of the one that was asked")
    is_cut = bool(flags & _TC)
    try:
        found = () if is_cut else tuple(_records(data, at, min(answers, _MOST_ANSWERS), TYPES[kind]))
    except (struct.error, IndexError, ValueError):
        raise DnsError("its records are malformed") from None
    return Reply(rcode, is_cut, found)


def same_answer(one: str, other: str) -> bool:
    """Return whether two texts of a record mean the same."""
    return one.rstrip(".").lower() == other.rstrip(".").lower()


def _records(data: bytes, at: int, count: int, wanted: int) -> Iterator[str]:
    for _ in range(count):
        _, at = _name(data, at)
        kind, _, _, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > len(data):
            raise ValueError
        if wanted in {kind, TYPES["ANY"]} and kind in _NAMES:
            yield _text(data, at, length, _NAMES[kind])
        at += length


def _text(data: bytes, at: int, length: int, kind: str) -> str:  # noqa: PLR0911 - a case for each type
    """Return the record as `dig +short` shows it."""
    match kind:
        case "A":
            return str(IPv4Address(data[at : at + length]))
        case "AAAA":
            return str(IPv6Address(data[at : at + length]))
        case "MX":
            return f"{int.from_bytes(data[at : at + 2])} {_name(data, at + 2)[0]}"
        case "SRV":
            priority, weight, port = struct.unpack_from("!HHH", data, at)
            return f"{priority} {weight} {port} {_name(data, at + 6)[0]}"
        case "TXT":
            return "".join(part.decode("utf-8", "backslashreplace") for part in _strings(data[at : at + length]))
        case "SOA":
            first, at = _name(data, at)
            second, at = _name(data, at)
            numbers = struct.unpack_from("!IIIII", data, at)
            return " ".join([first, second, *map(str, numbers)])
        case _:
            return _name(data, at)[0]


def _strings(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at a place and where it ends. Raises ValueError and IndexError."""
    labels: list[str] = []
    end, jumps, size = -1, 0, 0
    while length := data[at]:
        if length >= 0xC0:
            end = at + 2 if end < 0 else end
            jumps += 1
            at = (length & 0x3F) << 8 | data[at + 1]
            if jumps > _MOST_JUMPS:
                raise ValueError
            continue
        size += length + 1
        if length > 63 or size > _LONGEST_NAME or at + 1 + length > len(data):
            raise ValueError
        labels.append(data[at + 1 : at + 1 + length].decode("ascii", "backslashreplace"))
        at += 1 + length
    return ".".join(labels) + ".", at + 1 if end < 0 else end
