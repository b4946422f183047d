# SPDX-License-Identifier: Apache-2.0
"""Snapshots made by hand: VIPs and backends under ids that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from xdplb.control.state.bindings import BackendBinding, Bindings, VipBinding
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredBackend, DesiredVip, Drain
from xdplb.control.state.generations import Generations, VipGenerations
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip, VipKey

__all__ = ["bound_backend", "bound_vip", "snapshot", "with_access", "with_backend", "with_vip"]


def bound_backend(
    number: int, epoch: int, backend: Backend, generation: int, drain: Drain | None = None
) -> BoundBackend:
    """Return a backend under this id."""
    return BoundBackend(number, epoch, DesiredBackend(backend, drain), generation)


def bound_vip(
    number: int,
    vip: Vip,
    generation: int,
    checks: tuple[HealthCheck, ...] = (),
    backends: Mapping[IPAddress, BoundBackend] = MappingProxyType({}),
    *,
    access: AccessList = NO_ACCESS_LIST,
) -> BoundVip:
    """Return a VIP under this id."""
    desired = {address: backend.desired for address, backend in backends.items()}
    return BoundVip(number, DesiredVip(vip, checks, desired, access), generation, dict(backends))


def with_vip(bound: BoundVip, vip: Vip) -> BoundVip:
    """Return the same with other settings."""
    return replace(bound, desired=replace(bound.desired, vip=vip))


def with_access(bound: BoundVip, access: AccessList) -> BoundVip:
    """Return the same with another access list."""
    return replace(bound, desired=replace(bound.desired, access=access))


def with_backend(bound: BoundVip, backend: BoundBackend) -> BoundVip:
    """Return the same with this backend, in place of the one at its address if there is one."""
    backends = {**bound.backends, backend.backend.address: backend}
    return bound_vip(bound.id, bound.vip, bound.generation, bound.checks, backends, access=bound.access)


def snapshot(
    generation: int = 0,
    vips: Mapping[VipKey, BoundVip] = MappingProxyType({}),
    epochs: Mapping[int, int] = MappingProxyType({}),
) -> Snapshot:
    """Return the snapshot of these."""
    desired, bindings, generations = {}, {}, {}
    for key, vip in vips.items():
        desired[key] = vip.desired
        bindings[key] = VipBinding(vip.id, {a: BackendBinding(b.id, b.epoch) for a, b in vip.backends.items()})
        generations[key] = VipGenerations(vip.generation, {a: b.generation for a, b in vip.backends.items()})
    return Snapshot(
        Desired(desired),
        Bindings(bindings, dict(epochs)),
        Generations(generation, generations),
        dict(vips),
        {vip.id: vip for vip in vips.values()},
    )
