"""A reading of the counters, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.plane import BackendCounters, Counters, VipCounters

__all__ = ["Counted"]


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters and what the maps held when they were read.

    An id that is given out again counts for its old holder until the maps hold the new one, which is a little later
    than the state does. Whoever asks for the new one in between is told that nothing was counted yet, which is so.
    """

    counters: Counters
    held: Held

    def of_vip(self, vip: BoundVip) -> VipCounters:
        """Return what was counted for a VIP."""
        entry = self.held.vips.get(vip.id)
        counted = self.counters.vips.get(vip.id)
        return counted if counted and entry and entry.key == vip.vip.key else VipCounters()

    def of_backend(self, backend: BoundBackend) -> BackendCounters:
        """Return what was counted for a backend."""
        entry = self.held.backends.get(backend.id)
        counted = self.counters.backends.get(backend.id)
        return counted if counted and entry and entry.epoch == backend.epoch else BackendCounters()
