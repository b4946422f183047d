# SPDX-License-Identifier: Apache-2.0
"""What a node that starts pulls from a peer, as a stream of bytes: moving slots, records, and an end.

It begins with a magic word. Each frame has its length and its kind; kinds that are not known are skipped. Without the
frame at the end, the stream was cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from xdplb.model.errors import XdplbError
from xdplb.model.key import VipKey
from xdplb.model.shared_record import NO_RECORDS, SharedRecords, SharedSlots, SharedState

from .records import decode_records, encode_records

__all__ = ["MEDIA_TYPE", "decode_state", "encode_state"]

MEDIA_TYPE = "application/x-xdplb-records"

_MAGIC = b"xdplb records 1\n"
_FRAME = struct.Struct("!IB")
_SLOTS, _RECORDS, _END = 1, 2, 255
_MOST_FRAME = 16 << 20
_RECORDS_BYTES = 60_000
_SLOTS_HEAD = struct.Struct("!HHI")
"""Bytes of the VIP's key, addresses, slots."""
_SLOT = np.dtype([("number", ">u4"), ("previous", ">u2"), ("age_ms", ">u4")])


def encode_state(state: SharedState) -> Iterator[bytes]:
    """Yield the stream in pieces: slots first, since old connections without a record go by them."""
    yield _MAGIC
    for slots in state.slots:
        yield _framed(_SLOTS, _encode_slots(slots))
    for body, _ in encode_records(state.records, _RECORDS_BYTES):
        yield _framed(_RECORDS, body)
    yield _framed(_END, b"")


def decode_state(chunks: Iterable[bytes], most: int) -> SharedState:
    """Return what a stream has. Raises ValueError if it is none, cut off, or longer than `most` bytes."""
    slots: list[SharedSlots] = []
    records: list[SharedRecords] = []
    for kind, body in _frames(chunks, most):
        if kind == _END:
            return SharedState(tuple(slots), np.concatenate(records) if records else NO_RECORDS)
        if kind == _SLOTS:
            slots.append(_decode_slots(body))
        elif kind == _RECORDS:
            records.append(decode_records(body))
    raise ValueError("it was cut off")


def _framed(kind: int, body: bytes) -> bytes:
    return _FRAME.pack(len(body), kind) + body


def _frames(chunks: Iterable[bytes], most: int) -> Iterator[tuple[int, bytes]]:
    held, total, is_begun = bytearray(), 0, False
    for chunk in chunks:
        total += len(chunk)
        if total > most:
            raise ValueError(f"it is longer than {most} bytes")
        held += chunk
        if not is_begun:
            if not held.startswith(_MAGIC[: len(held)]):
                raise ValueError("it does not begin as records do")
            if len(held) < len(_MAGIC):
                continue
            is_begun = True
            del held[: len(_MAGIC)]
        at = 0
        while len(held) - at >= _FRAME.size:
            length, kind = _FRAME.unpack_from(held, at)
            if length > _MOST_FRAME:
                raise ValueError("a frame is too long")
            if len(held) - at - _FRAME.size < length:
                break
            begin = at + _FRAME.size
            yield kind, bytes(held[begin : begin + length])
            at = begin + length
        del held[:at]


def _encode_slots(slots: SharedSlots) -> bytes:
    key = str(slots.key).encode()
    rows = np.zeros(len(slots.numbers), _SLOT)
    rows["number"], rows["previous"] = slots.numbers, slots.previous
    rows["age_ms"] = np.clip(np.nan_to_num(slots.ages.astype(np.float64)) * 1000, 0, (1 << 32) - 1)
    addresses = b"".join(bytes([len(each.packed)]) + each.packed for each in slots.addresses)
    return _SLOTS_HEAD.pack(len(key), len(slots.addresses), len(rows)) + key + addresses + rows.tobytes()


def _decode_slots(body: bytes) -> SharedSlots:
    if len(body) < _SLOTS_HEAD.size:
        raise ValueError("slots are cut short")
    key_bytes, address_count, count = _SLOTS_HEAD.unpack_from(body)
    at = _SLOTS_HEAD.size + key_bytes
    try:
        key = VipKey.parse(body[_SLOTS_HEAD.size : at].decode())
    except XdplbError as error:
        raise ValueError(f"slots are of no VIP: {error.detail}") from None
    addresses: list[IPv4Address | IPv6Address] = []
    for _ in range(address_count):
        length = body[at] if at < len(body) else 0
        packed = body[at + 1 : at + 1 + length]
        if length not in {4, 16} or len(packed) != length:
            raise ValueError("slots have an address that is none")
        addresses.append(IPv4Address(packed) if length == 4 else IPv6Address(packed))
        at += 1 + length
    if len(body) - at != count * _SLOT.itemsize:
        raise ValueError("slots have another length than they say")
    rows = np.frombuffer(body, _SLOT, count, at)
    if count and rows["previous"].max() >= len(addresses):
        raise ValueError("a slot had an owner that is not named")
    return SharedSlots(
        key,
        tuple(addresses),
        rows["number"].astype(np.uint32),
        rows["previous"].astype(np.uint16),
        (rows["age_ms"] / 1000).astype(np.float32),
    )
