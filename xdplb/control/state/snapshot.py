"""What the control plane remembers: the desired state with its ids and generations, and the last known health.

Values only. `Snapshot` is replaced whole at every change, so that a reader never sees half of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend, Health
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Forward, Vip, VipKey

__all__ = ["NO_ACCESS_LIST", "BoundBackend", "BoundVip", "Drain", "KnownHealth", "Snapshot"]


NO_ACCESS_LIST = AccessList()
"""What a VIP without an access list has: everybody may."""


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain as asked for. `started` is UTC, so that the deadline outlives a restart."""

    started: datetime
    timeout_seconds: float = 600.0
    quiet_seconds: float = 10.0

    @property
    def deadline(self) -> datetime:
        """When the drain is over, connections left or not."""
        return self.started + timedelta(seconds=self.timeout_seconds)


@dataclass(frozen=True, slots=True)
class BoundBackend:
    """A backend with its id in the maps; `generation` is the last change that touched it."""

    id: int
    epoch: int
    backend: Backend
    generation: int
    drain: Drain | None = None


@dataclass(frozen=True, slots=True)
class BoundVip:
    """A VIP with its id in the maps, and all that is its own; `generation` is the last change to any of it."""

    id: int
    vip: Vip
    generation: int
    check: HealthCheck | None = None
    backends: Mapping[IPAddress, BoundBackend] = field(default_factory=dict)
    access: AccessList = NO_ACCESS_LIST

    def forward_of(self, backend: Backend) -> Forward:
        """Return how packets reach `backend`: its own way, else the VIP's."""
        return backend.forward or self.vip.forward


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything asked for. `epochs` has the latest epoch of every backend id ever given out."""

    generation: int = 0
    vips: Mapping[VipKey, BoundVip] = field(default_factory=dict)
    epochs: Mapping[int, int] = field(default_factory=dict)

    def backends(self) -> Iterator[tuple[BoundVip, BoundBackend]]:
        """Yield every backend with its VIP."""
        for vip in self.vips.values():
            for backend in vip.backends.values():
                yield vip, backend


@dataclass(frozen=True, slots=True)
class KnownHealth:
    """The health of a backend, why, and since when (UTC)."""

    health: Health
    reason: str
    since: datetime
