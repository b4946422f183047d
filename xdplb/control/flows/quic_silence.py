"""When backends were last sent something whose connections have no records: those that QUIC connection IDs name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.plane import BackendCounters

__all__ = ["LastHeard"]


class LastHeard:
    """Compares the packet counters of backends that drain from one reading to the next, where their VIP is of QUIC."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[int, datetime]] = {}

    def note(self, state: Snapshot, counters: Mapping[int, BackendCounters], at: datetime) -> Mapping[int, datetime]:
        """Return for the id of each such backend the reading that found more packets than the one before.

        That is this one, of `counters` by backend id at `at` (UTC), for a backend that was not in the one before.
        """
        seen: dict[tuple[int, int], tuple[int, datetime]] = {}
        for vip, backend in state.backends():
            if vip.vip.quic is None or backend.drain is None:
                continue
            key = (backend.id, backend.epoch)
            packets = counters.get(backend.id, BackendCounters()).packets
            before = self._seen.get(key)
            seen[key] = before if before is not None and before[0] == packets else (packets, at)
        self._seen = seen
        return {backend_id: heard for (backend_id, _), (_, heard) in seen.items()}
