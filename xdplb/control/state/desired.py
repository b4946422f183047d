# SPDX-License-Identifier: Apache-2.0
"""The desired state: VIPs with their backends, checks and access lists, by their keys, and who declares them.

Balancers that received the same changes have equal values, whatever ids and generations each of them gave. A value is
never changed: an edit makes a new one, which shares the objects that stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from xdplb.control.state.differing import without
from xdplb.control.state.places import Places
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend
from xdplb.model.config import NO_SETTINGS, Settings
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Forward, Vip, VipKey

__all__ = ["NO_ACCESS_LIST", "Declared", "Desired", "DesiredBackend", "DesiredVip", "Drain"]

NO_ACCESS_LIST = AccessList()
"""The access list of a VIP without one: packets from any source are accepted."""


@dataclass(frozen=True, slots=True)
class Drain:
    """A requested drain. `started` is a time of `xdplb.control.clock`: the deadline survives a restart.

    `cut_at_deadline`: at the deadline the backend gets no packets any more, which ends the connections that are left.
    `id` tells this drain from others of the backend, on every balancer: each counts from when it has seen it.
    """

    started: datetime
    timeout_seconds: float = 600.0
    quiet_seconds: float = 10.0
    cut_at_deadline: bool = False
    id: str = ""

    @classmethod
    def begun(cls, now: datetime) -> Drain:
        """Return a drain that was asked for at this time, with the default times."""
        return cls(now, id=now.astimezone(UTC).isoformat())

    @property
    def deadline(self) -> datetime:
        """When the drain times out."""
        return self.started + timedelta(seconds=self.timeout_seconds)

    def is_cut(self, at: datetime | None) -> bool:
        """Return whether what was cut at `at` was this drain: None if nothing was; a later deadline goes on."""
        return self.cut_at_deadline and at is not None and at >= self.deadline


@dataclass(frozen=True, slots=True)
class Declared:
    """What the config file says of a backend over which an operator has laid something else."""

    weight: int
    admin_state: AdminState

    @classmethod
    def of(cls, backend: Backend) -> Declared:
        """Return what a backend is declared as if it is as the file says."""
        return cls(backend.weight, backend.admin_state)


@dataclass(frozen=True, slots=True)
class DesiredBackend:
    """A backend of a VIP; `drain` is set while its admin state is `drain`.

    `declared` is set while an overlay makes `backend` differ from what the config file says.
    """

    backend: Backend
    drain: Drain | None = None
    declared: Declared | None = None

    @property
    def as_declared(self) -> Backend:
        """The backend as the config file has it: without the overlay."""
        if self.declared is None:
            return self.backend
        return replace(self.backend, weight=self.declared.weight, admin_state=self.declared.admin_state)


@dataclass(frozen=True, slots=True)
class DesiredVip:
    """A VIP with its checks, all of which must pass, its backends and access list."""

    vip: Vip
    checks: tuple[HealthCheck, ...] = ()
    backends: Mapping[IPAddress, DesiredBackend] = field(default_factory=dict)
    access: AccessList = NO_ACCESS_LIST

    def forward_of(self, backend: Backend) -> Forward:
        """Return how packets reach `backend`: its own setting, else the VIP's."""
        return backend.forward or self.vip.forward


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole desired state. `owner` is the path of the config file that declares it, empty if the API does."""

    vips: Mapping[VipKey, DesiredVip] = field(default_factory=dict)
    settings: Settings = NO_SETTINGS
    owner: str = ""
    _places: Places | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def places(self) -> Places:
        """Where its VIPs and backends are. Made once, and after an edit from those before it."""
        if self._places is None:
            object.__setattr__(self, "_places", Places.of(self.vips.values()))
        assert self._places is not None
        return self._places

    def backends(self) -> Iterator[tuple[DesiredVip, DesiredBackend]]:
        """Yield every backend with its VIP."""
        for vip in self.vips.values():
            for backend in vip.backends.values():
                yield vip, backend

    def with_vip(self, vip: DesiredVip) -> Desired:
        """Return the state with this VIP added, or replacing the one with the same key."""
        key = vip.vip.key
        return self.with_vips({**self.vips, key: vip}, self.places.after(self.vips.get(key), vip))

    def without_vip(self, key: VipKey) -> Desired:
        """Return the state without the VIP of this key."""
        return self.with_vips(without(self.vips, [key]), self.places.after(self.vips[key], None))

    def with_vips(self, vips: Mapping[VipKey, DesiredVip], places: Places) -> Desired:
        """Return the state with these VIPs in place of its own; `places` are theirs."""
        made = replace(self, vips=vips)
        object.__setattr__(made, "_places", places)
        return made
