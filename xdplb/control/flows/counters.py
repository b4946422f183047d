# SPDX-License-Identifier: Apache-2.0
"""A reading of the counters, matched to VIPs and backends."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.plane import BackendCounters, Counters, VipCounters

__all__ = ["Counted"]


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters, with what the maps held when they were read.

    A reused id counts for its old owner until the maps have the new one, a little later than the desired state. Until
    then the counters of the new owner are 0.
    """

    counters: Counters
    held: Held

    def of_vip(self, vip: BoundVip) -> VipCounters:
        """Return the counters of a VIP."""
        entry = self.held.vips.get(vip.id)
        counted = self.counters.vips.get(vip.id)
        return counted if counted and entry and entry.key == vip.vip.key else VipCounters()

    def of_backend(self, backend: BoundBackend) -> BackendCounters:
        """Return the counters of a backend."""
        entry = self.held.backends.get(backend.id)
        counted = self.counters.backends.get(backend.id)
        return counted if counted and entry and entry.epoch == backend.epoch else BackendCounters()
