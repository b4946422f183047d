# SPDX-License-Identifier: Apache-2.0
"""Making a VIP of what is asked for and what is there: what is equal stays the same object, so that it costs nothing.

Later stages compare by identity what a change has changed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from xdplb.control.edits.edit import KEEP, CreateVip, Keep, PutVip
from xdplb.control.edits.nat_rules import check_served_ports, serving_otherwise
from xdplb.control.edits.overlap import check_no_vips
from xdplb.control.edits.rules import check_backends, check_settings
from xdplb.control.state.desired import NO_ACCESS_LIST, Declared, Desired, DesiredBackend, DesiredVip, Drain
from xdplb.control.state.differing import differing
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend
from xdplb.model.config import DeclaredVip
from xdplb.model.errors import InvalidError, within
from xdplb.model.health import HealthCheck, Target, fitted_checks
from xdplb.model.vip import Vip, VipKey

__all__ = ["as_shown", "asked_backend", "assembled", "check_assembled", "with_backends", "with_checks"]


def assembled(old: DesiredVip | None, asked: CreateVip | PutVip | DeclaredVip, now: datetime) -> DesiredVip:
    """Return the VIP as asked for, with the parts that are kept; `old` itself if nothing differs.

    A VIP of a config file keeps its overlays. InvalidError points at a backend that is given twice.
    """
    before = DesiredVip(asked.vip) if old is None else old
    backends = before.backends
    if isinstance(asked, DeclaredVip):
        backends = _with(declared_backend, before, asked.vip, asked.backends, now)
    elif asked.backends is not KEEP:
        backends = _with(asked_backend, before, asked.vip, asked.backends, now)
    made = DesiredVip(
        before.vip if before.vip == asked.vip else asked.vip,
        _checks(before.checks, asked.checks, asked.vip.key),
        backends,
        _access(before.access, asked.access),
    )
    return made if old is None or _has_other_parts(old, made) else old


def _has_other_parts(one: DesiredVip, other: DesiredVip) -> bool:
    return not (
        one.vip is other.vip
        and one.checks is other.checks
        and one.backends is other.backends
        and one.access is other.access
    )


def _checks(
    old: tuple[HealthCheck, ...], asked: tuple[HealthCheck, ...] | Keep, key: VipKey
) -> tuple[HealthCheck, ...]:
    if asked is KEEP:
        return old
    with within("/checks"):
        return with_checks(old, asked, key)


def with_checks(old: tuple[HealthCheck, ...], asked: Sequence[HealthCheck], key: VipKey) -> tuple[HealthCheck, ...]:
    """Return these checks, in place of `old`, as those of the VIP `key`; what is equal stays the same object.

    A check without a target, as earlier versions stored it, is equal to one that asks for none, or for the backend's
    own address: an upgrade changes nothing. InvalidError points to what is wrong, such as `/1/port`.
    """
    known = {check: check for check in old}
    made = []
    for wanted, check in zip(asked, fitted_checks(asked, key), strict=True):
        as_before = None if wanted.target is Target.VIP else known.get(replace(check, target=None))
        made.append(as_before or known.get(check, check))
    return old if len(made) == len(old) and all(map(operator.is_, made, old)) else tuple(made)


def _access(old: AccessList, asked: AccessList | Keep) -> AccessList:
    return old if asked is KEEP or old == asked else asked or NO_ACCESS_LIST


def with_backends(vip: DesiredVip, asked: Iterable[Backend], now: datetime) -> Mapping[IPAddress, DesiredBackend]:
    """Return these backends in place of those of the VIP, which keep their drains and their order; the same if equal.

    InvalidError points at one that is given twice, such as `/backends/3/address`.
    """
    return _with(asked_backend, vip, vip.vip, asked, now)


_Made = Callable[[DesiredBackend | None, Backend, datetime], DesiredBackend]


def _with(
    make: _Made, before: DesiredVip, vip: Vip, asked: Iterable[Backend], now: datetime
) -> Mapping[IPAddress, DesiredBackend]:
    """Return the backends of a VIP that becomes `vip`, each as `make` makes it."""
    old = before.backends
    given: dict[IPAddress, DesiredBackend] = {}
    seen: set[IPAddress] = set()
    for index, backend in enumerate(asked):
        address = backend.address
        if address in seen:
            raise InvalidError.field(
                f"/backends/{index}/address",
                f"{address} is given twice",
                hint="give each backend once, with the sum of the weights",
            )
        seen.add(address)
        known = old.get(address)
        if (made := make(known, as_shown(known, backend, vip), now)) is not known:
            given[address] = made
    kept = {address: backend for address, backend in old.items() if address in seen}
    return {**kept, **given} if given or len(kept) < len(old) else old


def asked_backend(old: DesiredBackend | None, asked: Backend, now: datetime) -> DesiredBackend:
    """Return a backend as it is asked for now; `old` if equal. A drain under way goes on, another one begins."""
    if old is None:
        return DesiredBackend(asked, _drain(None, asked, now))
    same = old.backend is asked or old.backend == asked
    return old if same else DesiredBackend(asked, _drain(old, asked, now), old.declared)


def declared_backend(old: DesiredBackend | None, asked: Backend, now: datetime) -> DesiredBackend:
    """Return a backend as a configuration declares it, under the overlay that `old` has; `old` if equal."""
    if old is None or old.declared is None:
        return asked_backend(old, asked, now)
    declared = Declared.of(asked)
    laid = replace(
        asked,
        weight=asked.weight if old.backend.weight == old.declared.weight else old.backend.weight,
        admin_state=(
            asked.admin_state if old.backend.admin_state is old.declared.admin_state else old.backend.admin_state
        ),
    )
    made = DesiredBackend(laid, _drain(old, laid, now), None if Declared.of(laid) == declared else declared)
    return old if made == old else made


def _drain(old: DesiredBackend | None, backend: Backend, now: datetime) -> Drain | None:
    if backend.admin_state is not AdminState.DRAIN:
        return None
    return Drain.begun(now) if old is None or old.drain is None else old.drain


def as_shown(old: DesiredBackend | None, asked: Backend, vip: Vip) -> Backend:
    """Return a backend that was read, and is sent back, as it is stored.

    What is shown of a backend without a `forward` of its own is that of its VIP, which is or becomes `vip`.
    """
    if asked.forward is vip.forward and old is not None and old.backend.forward is None:
        return replace(asked, forward=None)
    return asked


def check_assembled(after: Desired, old: DesiredVip | None, new: DesiredVip, asked: Iterable[Backend] | Keep) -> None:
    """Raise an error if the parts of a VIP do not fit each other, or one of its new backends has a VIP's address.

    `asked` are the backends in the order in which they were given: errors point at them.
    """
    pointers = {}
    if asked is not KEEP:
        pointers = {backend.address: f"/backends/{index}" for index, backend in enumerate(asked)}
    difference = differing({} if old is None else old.backends, new.backends)
    # The others were checked when they were added.
    check_no_vips(after, new.vip.key, {address: f"{pointers.get(address, '')}/address" for address in difference.new})
    check_backends(new, difference.present, pointers)
    elsewhere = "/port"
    if old is not None and _asked_of_backends(old.vip) != _asked_of_backends(new.vip):
        check_settings(new)
        elsewhere = "/forward"
    check_served_ports(after, new, serving_otherwise(old, new), pointers, elsewhere)


def _asked_of_backends(vip: Vip) -> tuple[object, ...]:
    """Return the settings that backends must fit."""
    return vip.forward, vip.scheduler, vip.quic
