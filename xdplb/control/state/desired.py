"""What was asked for, and nothing else: VIPs with their backends, checks and access lists, by their keys.

Values only. Balancers that were asked for the same have equal values, whatever ids and generations each of them gave.
A value is never changed: an edit makes another, and shares what it leaves as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Forward, Vip, VipKey

__all__ = ["NO_ACCESS_LIST", "Desired", "DesiredBackend", "DesiredVip", "Drain"]

NO_ACCESS_LIST = AccessList()
"""What a VIP without an access list has: packets from any source are accepted."""


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain as it was asked for. `started` is UTC, so that the deadline outlives a restart."""

    started: datetime
    timeout_seconds: float = 600.0
    quiet_seconds: float = 10.0

    @property
    def deadline(self) -> datetime:
        """When the drain is over, whether connections are left or not."""
        return self.started + timedelta(seconds=self.timeout_seconds)


@dataclass(frozen=True, slots=True)
class DesiredBackend:
    """A backend of a VIP; `drain` is there as long as its admin state is `drain`."""

    backend: Backend
    drain: Drain | None = None


@dataclass(frozen=True, slots=True)
class DesiredVip:
    """A VIP and all that is its own."""

    vip: Vip
    check: HealthCheck | None = None
    backends: Mapping[IPAddress, DesiredBackend] = field(default_factory=dict)
    access: AccessList = NO_ACCESS_LIST

    def forward_of(self, backend: Backend) -> Forward:
        """Return how packets reach `backend`: its own way, else the VIP's."""
        return backend.forward or self.vip.forward


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that was asked for."""

    vips: Mapping[VipKey, DesiredVip] = field(default_factory=dict)

    def backends(self) -> Iterator[tuple[DesiredVip, DesiredBackend]]:
        """Yield every backend with its VIP."""
        for vip in self.vips.values():
            for backend in vip.backends.values():
                yield vip, backend

    def with_vip(self, vip: DesiredVip) -> Desired:
        """Return the same with this VIP, in place of the one with its key if there is one."""
        return replace(self, vips={**self.vips, vip.vip.key: vip})

    def without_vip(self, key: VipKey) -> Desired:
        """Return the same without the VIP of this key."""
        return replace(self, vips={other: vip for other, vip in self.vips.items() if other != key})
