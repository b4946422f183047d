# SPDX-License-Identifier: Apache-2.0
"""How etcd's JSON gateway writes what is asked and answered: pure.

Keys and values are base64, numbers of 64 bits are texts, and what is false, 0 or empty is left out.
Source: https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/ and the protocol buffers in etcd's api/.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Event",
    "KeyValue",
    "Ops",
    "delete",
    "end_of",
    "events_of",
    "is_absent",
    "is_at",
    "is_of_revision",
    "is_present",
    "key_values_of",
    "number",
    "object_in",
    "put",
    "range_of",
    "text_of",
]

Fields = Mapping[str, Any]
Ops = Sequence[Fields]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key, its value, the revision that wrote it, and the lease it lies under (0: none)."""

    key: str
    value: bytes
    revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A key was put, or deleted at a revision: `value` is None then."""

    key: str
    value: bytes | None
    revision: int


def object_in(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a text, None if there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def number(fields: Fields, name: str) -> int:
    """Return a number that may be a text, or absent."""
    return int(fields.get(name) or 0)


def text_of(value: str | bytes) -> str:
    """Return a key or a value as it is written."""
    return b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")


def end_of(prefix: str) -> str:
    """Return the end of the range of all keys that begin with a prefix, which ends in ASCII."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def range_of(start: str, end: str | None = None, **options: Any) -> dict[str, Any]:
    """Return a request for a key, or for all from it up to, without, `end`."""
    fields = {"key": text_of(start), **options}
    return fields if end is None else {**fields, "range_end": text_of(end)}


def put(key: str, value: bytes, lease: int = 0) -> Fields:
    """Return the operation that writes a key."""
    fields = {"key": text_of(key), "value": text_of(value)}
    return {"request_put": {**fields, "lease": str(lease)} if lease else fields}


def delete(start: str, end: str | None = None) -> Fields:
    """Return the operation that deletes a key, or all from it up to, without, `end`."""
    return {"request_delete_range": range_of(start, end)}


def is_at(key: str, revision: int, value: bytes) -> Ops:
    """Return the comparisons that hold if a key was last written at this revision, and is this value."""
    return (
        {"key": text_of(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)},
        {"key": text_of(key), "target": "VALUE", "result": "EQUAL", "value": text_of(value)},
    )


def is_absent(key: str) -> Ops:
    """Return the comparisons that hold if there is no such key."""
    return ({"key": text_of(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"},)


def is_present(key: str) -> Ops:
    """Return the comparisons that hold if there is such a key."""
    return ({"key": text_of(key), "target": "CREATE", "result": "GREATER", "create_revision": "0"},)


def is_of_revision(key: str, revision: int) -> Ops:
    """Return the comparisons that hold if a key was last written at this revision."""
    return ({"key": text_of(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)},)


def key_values_of(answer: Fields) -> list[KeyValue]:
    """Return what a range has found."""
    return [_key_value(fields) for fields in answer.get("kvs") or ()]


def events_of(result: Fields) -> list[Event]:
    """Return what a watch tells, in the order in which it happened."""
    return list(_events(result.get("events") or ()))


def _events(told: Iterable[Fields]) -> Iterable[Event]:
    for fields in told:
        found = _key_value(fields["kv"])
        yield Event(found.key, None if fields.get("type") == "DELETE" else found.value, found.revision)


def _key_value(fields: Fields) -> KeyValue:
    return KeyValue(
        b64decode(fields["key"]).decode("utf-8", "replace"),
        b64decode(fields.get("value") or ""),
        number(fields, "mod_revision"),
        number(fields, "lease"),
    )
