# SPDX-License-Identifier: Apache-2.0
"""A data plane in memory through which packets go as the reference model has it, and which counts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from tests.property.packets import Flow, PacketPath
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import BackendCounters, BackendEntry, FlowRecords, VipCounters
from xdplb.model.vip import VipKey
from xdplb.reference.journey import Choice

__all__ = ["CountedPlane"]


class CountedPlane(FakePlane):
    """The packets are of one VIP, `key`, of TCP or UDP, with id 0; `clock` is in seconds."""

    def __init__(self, key: VipKey, clock: Callable[[], float]) -> None:
        super().__init__(clock=lambda: round(clock() * 1e9))
        self._seconds = clock
        self._path = PacketPath(key)
        self._path.on_sent = self._count
        self._lock = Lock()  # packets come in one thread, and scans in another

    def syn(self, flow: Flow) -> tuple[int, int] | None:
        """Return id and epoch of the backend that gets the first packet of a connection, None if it is dropped."""
        with self._lock:
            return self._ready().syn(flow)

    def ack(self, flow: Flow) -> tuple[int, int] | None:
        """Return the same for a later packet."""
        with self._lock:
            return self._ready().ack(flow)

    def scan_flows(self) -> FlowRecords:
        """Return the records that packets made."""
        with self._lock:
            return self._ready().scan_flows()

    def flow_count(self) -> int:
        """Return how many there are, without those on probation."""
        with self._lock:
            return self._path.flow_count()

    def delete_flows(self, records: FlowRecords) -> None:
        """Delete these records."""
        with self._lock:
            self._path.delete_flows(records)

    def _ready(self) -> PacketPath:
        """Return the packet path over the maps as they are now."""
        path = self._path
        path.now, path.vips, path.tables, path.entries = self._seconds(), self._vips, self._tables, self._backends
        return path

    def _count(self, backend: BackendEntry, choice: Choice) -> None:
        sent = self._backend_counters.get(backend.id, BackendCounters())
        self._backend_counters[backend.id] = sent._replace(
            packets=sent.packets + 1, new_flows=sent.new_flows + choice.is_new_flow
        )
        seen = self._vip_counters.get(0, VipCounters())
        self._vip_counters[0] = replace(
            seen,
            packets=seen.packets + 1,
            new_flows=seen.new_flows + choice.is_new_flow,
            at_risk=seen.at_risk + choice.at_risk,
        )
