# SPDX-License-Identifier: Apache-2.0
"""Records of connections as they go to other nodes: by addresses and ages, without ids or clocks of this host.

A body has parts. Each begins with its kind, how many records it has, and its length in bytes, so that a part of a kind
that is not known is skipped. The kinds differ in the families of client and backend.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xdplb.model.shared_record import NO_RECORDS, SHARED_RECORD, SharedRecords

__all__ = ["decode_records", "encode_records"]

_HEAD = struct.Struct("!BBH")
_MOST_IN_PART = 255
_MOST_AGE_MS = (1 << 32) - 1
_ADDRESSES = ("source", "destination", "backend")
_BYTES = {4: 4, 6: 16}
_SAME = ("source_port", "destination_port", "protocol", "flags")


def _wire(version: int, backend_version: int) -> np.dtype[np.void]:
    fields = [
        ("source", "u1", _BYTES[version]),
        ("destination", "u1", _BYTES[version]),
        ("backend", "u1", _BYTES[backend_version]),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("protocol", "u1"),
        ("flags", ">u2"),
        ("age_ms", ">u4"),
    ]
    return np.dtype(fields)


_WIRES = {10 * one + other: _wire(one, other) for one in _BYTES for other in _BYTES}
"""What a record looks like in a part of each kind: 44, 46, 64 or 66, by the families of client and backend."""


def encode_records(records: SharedRecords, most: int) -> Iterator[tuple[bytes, int]]:
    """Yield bodies of at most `most` bytes with these records, in no certain order, and how many are in each."""
    body, count = b"", 0
    for kind, wire in _WIRES.items():
        found = records[(records["version"] == kind // 10) & (records["backend_version"] == kind % 10)]
        if not len(found):
            continue
        sent, at = _as_sent(found, wire), 0
        while at < len(sent):
            room = min((most - len(body) - _HEAD.size) // wire.itemsize, _MOST_IN_PART)
            if room <= 0:
                yield body, count
                body, count = b"", 0
                continue
            part = sent[at : at + room]
            body += _HEAD.pack(kind, len(part), part.nbytes) + part.tobytes()
            count += len(part)
            at += room
    if count:
        yield body, count


def decode_records(body: bytes) -> SharedRecords:
    """Return the records in a body, without parts of kinds that are not known. Raises ValueError if it is malformed."""
    parts: list[SharedRecords] = []
    at = 0
    while at < len(body):
        if len(body) - at < _HEAD.size:
            raise ValueError("a part is cut short")
        kind, count, length = _HEAD.unpack_from(body, at)
        at += _HEAD.size
        if len(body) - at < length:
            raise ValueError("a part is cut short")
        if (wire := _WIRES.get(kind)) is not None:
            if length != count * wire.itemsize:
                raise ValueError("a part has another length than its records")
            parts.append(_as_held(np.frombuffer(body, wire, count, at), kind))
        at += length
    return np.concatenate(parts) if parts else NO_RECORDS


def _as_sent(records: SharedRecords, wire: np.dtype[np.void]) -> NDArray[np.void]:
    sent = np.zeros(len(records), wire)
    for name in _ADDRESSES:
        packed = records[name].astype(">u8").view("u1").reshape(len(records), 16)
        sent[name] = packed[:, 16 - wire[name].shape[0] :]
    for name in _SAME:
        sent[name] = records[name]
    age = np.nan_to_num(records["age"].astype(np.float64), posinf=_MOST_AGE_MS)
    sent["age_ms"] = np.clip(age * 1000, 0, _MOST_AGE_MS)
    return sent


def _as_held(sent: NDArray[np.void], kind: int) -> SharedRecords:
    records = np.zeros(len(sent), SHARED_RECORD)
    records["version"], records["backend_version"] = kind // 10, kind % 10
    for name in _ADDRESSES:
        packed = np.zeros((len(sent), 16), np.uint8)
        packed[:, 16 - sent.dtype[name].shape[0] :] = sent[name]
        records[name] = packed.view(">u8")
    for name in _SAME:
        records[name] = sent[name]
    records["age"] = sent["age_ms"] / 1000
    return records
