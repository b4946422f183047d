# SPDX-License-Identifier: Apache-2.0
"""The records of the flow tables, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPAddress

from . import layout
from .plane import FlowRecords
from .remembered import FlowRecord

__all__ = ["KEY_BYTES", "RawFlows", "flow_keys", "from_raw", "raw_key", "record_of"]

LOW64 = 2**64 - 1
KEY_BYTES = layout.FLOW6_KEY.itemsize


@dataclass(frozen=True, slots=True)
class RawFlows:
    """One flow table as it was read: keys (n, 16 or 40) of IP version 4 or 6, values (n, 16)."""

    keys: NDArray[np.uint8]
    values: NDArray[np.uint8]
    version: int
    probation: bool


def from_raw(tables: Sequence[RawFlows], now: int) -> FlowRecords:
    """Return the records of these tables; `now` is ns of CLOCK_MONOTONIC.

    The program notes the coarse clock, which lags by some milliseconds, so that no age is below 0 by more than that.
    """
    parts = [_records(table, now) for table in tables]
    return FlowRecords(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(FlowRecords)}
    )


def raw_key(source: IPAddress, source_port: int, destination: IPAddress, destination_port: int, protocol: int) -> bytes:
    """Return the key of a flow, as the table of its version has it."""
    key = np.zeros(1, _key_type(destination.version))
    for name, address in (("source", source), ("destination", destination)):
        value = int(address)
        key[name] = value if address.version == 4 else (value >> 64, value & LOW64)
    key["source_port"], key["destination_port"], key["protocol"] = source_port, destination_port, protocol
    return key.tobytes()


def record_of(value: bytes, *, probation: bool) -> FlowRecord:
    """Return one record, of the value that a table has."""
    found = np.frombuffer(value, layout.FLOW)[0]
    backend, epoch, flags, vip = (int(found[name]) for name in ("backend", "epoch", "flags", "vip"))
    return FlowRecord(backend, epoch, flags, vip, int(found["last_seen"]), probation)


def flow_keys(records: FlowRecords, version: int, *, probation: bool) -> NDArray[np.uint8]:
    """Return the keys of those records that are in one of the tables, as the table has them."""
    here = (records.version == version) & (records.probation == probation)
    keys: NDArray[np.uint8] = records.key[here][:, : _key_type(version).itemsize]
    return keys


def _key_type(version: int) -> np.dtype[np.void]:
    return layout.FLOW6_KEY if version == 6 else layout.FLOW_KEY


def _records(table: RawFlows, now: int) -> FlowRecords:
    count = len(table.keys)
    key = table.keys.view(_key_type(table.version)).reshape(-1)
    value = table.values.view(layout.FLOW).reshape(-1)
    age = (np.int64(now) - value["last_seen"].astype(np.int64)) / 1e9
    return FlowRecords(
        key=_padded(table.keys),
        version=np.full(count, table.version, np.uint8),
        source=_address(key["source"]),
        source_port=_native(key["source_port"]),
        destination=_address(key["destination"]),
        destination_port=_native(key["destination_port"]),
        protocol=key["protocol"].astype(np.uint8),
        vip=_native(value["vip"]),
        backend=_native(value["backend"]),
        epoch=_native(value["epoch"]),
        flags=_native(value["flags"]),
        age=np.maximum(age, 0.0),
        probation=np.full(count, table.probation, np.bool_),
    )


def _padded(keys: NDArray[np.uint8]) -> NDArray[np.uint8]:
    padded = np.zeros((len(keys), KEY_BYTES), np.uint8)
    padded[:, : keys.shape[1]] = keys
    return padded


def _address(column: NDArray[Any]) -> NDArray[np.uint64]:
    """Return addresses as two numbers each, shape (n, 2)."""
    halves = np.zeros((len(column), 2), np.uint64)
    halves[:, 1 if column.ndim == 1 else slice(None)] = column
    return halves


def _native(column: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous copy in the host's byte order."""
    return column.astype(column.dtype.newbyteorder("="))
