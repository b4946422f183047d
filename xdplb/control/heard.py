"""When backends were last sent something whose connections have no records: those that QUIC connection IDs name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from xdplb.control.records import State
from xdplb.dataplane.plane import BackendCounters

__all__ = ["LastHeard", "drains_unrecorded"]


def drains_unrecorded(state: State) -> frozenset[tuple[int, int]]:
    """Return id and epoch of the backends that drain while packets go to them by QUIC connection ID."""
    return frozenset(
        (backend.id, backend.epoch)
        for vip, backend in state.backends()
        if vip.vip.quic is not None and backend.drain is not None
    )


class LastHeard:
    """Compares the packet counters of such backends from one reading to the next."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[int, datetime]] = {}

    def note(
        self, drains: frozenset[tuple[int, int]], backends: Mapping[int, BackendCounters], at: datetime
    ) -> Mapping[int, datetime]:
        """Return for each backend id of `drains` the reading that found more packets than the one before.

        That is this one, made at `at` (UTC), for a backend that was not in the one before.
        """
        seen: dict[tuple[int, int], tuple[int, datetime]] = {}
        for key in drains:
            packets = backends.get(key[0], BackendCounters()).packets
            before = self._seen.get(key)
            seen[key] = before if before is not None and before[0] == packets else (packets, at)
        self._seen = seen
        return {backend_id: heard for (backend_id, _), (_, heard) in seen.items()}
