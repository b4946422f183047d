# SPDX-License-Identifier: Apache-2.0
"""The state that `scripts/bench scale` starts the daemon with, written by the daemon's own store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from tests.bench.checks import FAR
from tests.bench.scale_host import MOST_NEAR, NEAR, PORT
from xdplb.control.state.desired import Desired, DesiredBackend, DesiredVip
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.plane import Capacity
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend, Health, KnownHealth
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Forward, Protocol, Vip, VipKey

__all__ = ["Load", "change_check", "write_state"]

FIRST_VIP = IPv4Address("10.200.0.1")
HEAD_ROOM = 64


@dataclass(frozen=True)
class Load:
    """How many VIPs, and how many backends each has: the same for all."""

    vips: int
    backends: int

    def vip_keys(self) -> Iterator[VipKey]:
        """Yield the keys of the VIPs, in the order of their ids."""
        return (VipKey(FIRST_VIP + number, PORT, Protocol.TCP) for number in range(self.vips))

    @property
    def addresses(self) -> list[IPv4Address]:
        """The backends' addresses: up to some on the balancer's segment, more behind a router."""
        first = NEAR if self.backends <= MOST_NEAR else FAR
        return [first + number for number in range(self.backends)]

    @property
    def forward(self) -> Forward:
        """How packets are sent to them: a router in between takes only tunnels."""
        return Forward.DR if self.backends <= MOST_NEAR else Forward.IPIP

    @property
    def options(self) -> list[str]:
        """What `xdplb up` needs for this many."""
        backends = min(self.vips * self.backends + HEAD_ROOM, 65534)
        return ["--max-vips", str(min(self.vips + HEAD_ROOM, 8192)), "--max-backends", str(backends)]


def write_state(folder: Path, load: Load, check: HealthCheck | None) -> None:
    """Write a state with this load, in which all backends are up, in place of what there is."""
    shutil.rmtree(folder, ignore_errors=True)
    backends: dict[IPAddress, DesiredBackend] = {
        address: DesiredBackend(Backend(address)) for address in load.addresses
    }
    checks = () if check is None else (check,)
    vips = {key: DesiredVip(Vip(key, forward=load.forward), checks, backends) for key in load.vip_keys()}
    after = Snapshot().then(Desired(vips), Capacity(vips=8192, backends=65534))
    up = KnownHealth(Health.UP, "", datetime.now(UTC))
    _save(folder, after, {backend.id: up for _, backend in after.backends()})


def change_check(folder: Path, check: HealthCheck | None) -> None:
    """Give all VIPs of a stored state this check."""
    store = SqliteStore(folder)
    before, _ = store.open()
    vips = {key: replace(vip, checks=() if check is None else (check,)) for key, vip in before.desired.vips.items()}
    store.save(before, before.then(Desired(vips), Capacity(vips=8192, backends=65534)), {})
    store.close()


def _save(folder: Path, after: Snapshot, health: dict[int, KnownHealth]) -> None:
    store = SqliteStore(folder)
    before, _ = store.open()
    store.save(before, after, health)
    store.close()
