# SPDX-License-Identifier: Apache-2.0
"""The flow tables and the capture of the data plane in memory."""

from __future__ import annotations

import time
from threading import Event
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import flow_records, layout
from .decisions import CapturedPacket, CaptureFilter
from .flow_records import RawFlows
from .plane import FlowRecords
from .remembered import FlowRecord
from .told_flows import Fate, ToldFlows, after

__all__ = ["FakeCapture", "FakeFlows", "FakeSharedFlows"]


class _Key(NamedTuple):
    """The table a record lies in, and its key there."""

    version: int
    probation: bool
    raw: bytes


class FakeFlows:
    """All flow tables, with room for `most` records together: the oldest is evicted if they are full."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: dict[_Key, bytes] = {}

    def add(self, version: int, key: bytes, value: bytes, *, probation: bool) -> None:
        """Add a record, in place of one with this key."""
        where = _Key(version, probation, key)
        self._records.pop(where, None)
        if len(self._records) >= self._most:
            del self._records[next(iter(self._records))]
        self._records[where] = value

    def scan(self, now: int) -> FlowRecords:
        """Return all; `now` is ns."""
        tables = [self._table(version, probation) for version in (4, 6) for probation in (True, False)]
        return flow_records.from_raw(tables, now)

    def find(self, version: int, key: bytes) -> FlowRecord | None:
        """Return the record with this key; those of open flows come first."""
        for probation in (False, True):
            value = self._records.get(_Key(version, probation, key))
            if value is not None:
                return flow_records.record_of(value, probation=probation)
        return None

    def count(self) -> int:
        """Return how many there are, without those on probation."""
        return sum(not key.probation for key in self._records)

    def delete(self, records: FlowRecords) -> None:
        """Delete these."""
        for version, probation in {(key.version, key.probation) for key in self._records}:
            for key in flow_records.flow_keys(records, version, probation=probation):
                self._records.pop(_Key(version, probation, key.tobytes()), None)

    def tell(self, told: ToldFlows) -> list[Fate]:
        """Write records that other balancers told of; return the fate of each."""
        fates = []
        for key, value, opened in zip(told.keys, told.values, told.opened, strict=True):
            held = self._records.get(_Key(told.version, probation=False, raw=key.tobytes()))
            new = after(held, np.array([value]), opened=bool(opened))
            if new is not None:
                self.add(told.version, key.tobytes(), new.tobytes(), probation=False)
            fates.append(Fate.KNOWN if new is None else Fate.INSERTED if held is None else Fate.CHANGED)
        return fates

    def _table(self, version: int, probation: bool) -> RawFlows:
        found = {key.raw: value for key, value in self._records.items() if key[:2] == (version, probation)}
        size = (layout.FLOW6_KEY if version == 6 else layout.FLOW_KEY).itemsize
        values = _rows(b"".join(found.values()), layout.FLOW.itemsize)
        return RawFlows(_rows(b"".join(found), size), values, version, probation)


class FakeSharedFlows:
    """What other balancers are told: `flows`, of dtype layout.SHARED_FLOW, which a test puts there."""

    def __init__(self) -> None:
        self.flows: list[NDArray[np.void]] = []
        self.losses = 0
        self._there = Event()

    def put(self, flows: NDArray[np.void]) -> None:
        """Add some."""
        self.flows.append(flows)
        self._there.set()

    def wait(self, seconds: float) -> bool:
        """Return whether there is anything, after this long at most."""
        return self._there.wait(seconds)

    def wake(self) -> None:
        """Let `wait` return now."""
        self._there.set()

    def read(self) -> NDArray[np.void]:
        """Return and forget `flows`."""
        self._there.clear()
        flows, self.flows = self.flows, []
        return np.concatenate([np.zeros(0, layout.SHARED_FLOW), *flows])

    def lost(self) -> int:
        """Return `losses`."""
        return self.losses

    def close(self) -> None:
        """Do nothing."""


class FakeCapture:
    """A capture of what a test puts into `packets`."""

    def __init__(self, wanted: CaptureFilter) -> None:
        self.wanted = wanted
        self.packets: list[CapturedPacket] = []
        self.lost = 0

    def poll(self, seconds: float) -> list[CapturedPacket]:
        """Return and forget `packets`; while there are none, that takes a moment."""
        if not self.packets:
            time.sleep(min(seconds, 0.01))
        packets, self.packets = self.packets, []
        return packets


def _rows(data: bytes, size: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(-1, size)
