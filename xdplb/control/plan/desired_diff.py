# SPDX-License-Identifier: Apache-2.0
"""The difference between two desired states, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from xdplb.control.state.desired import Desired, DesiredBackend, DesiredVip
from xdplb.control.state.differing import differing
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

__all__ = ["DesiredChange", "DiffKind", "FieldChange", "diff"]


class DiffKind(StrEnum):
    """What happened to a VIP, its access list or its checks, or to a backend."""

    VIP_ADDED = "vip_added"
    VIP_CHANGED = "vip_changed"
    VIP_REMOVED = "vip_removed"
    ACCESS_CHANGED = "access_changed"
    CHECK_ADDED = "check_added"
    CHECK_CHANGED = "check_changed"
    CHECK_REMOVED = "check_removed"
    BACKEND_ADDED = "backend_added"
    BACKEND_CHANGED = "backend_changed"
    BACKEND_REMOVED = "backend_removed"
    DRAIN_CHANGED = "drain_changed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field with its value before and after."""

    name: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class DesiredChange:
    """One difference; `before` is None for something added, `after` for something removed."""

    kind: DiffKind
    vip: VipKey
    before: DesiredVip | DesiredBackend | None
    after: DesiredVip | DesiredBackend | None
    backend: IPAddress | None = None
    fields: tuple[FieldChange, ...] = ()


def diff(before: Desired, after: Desired) -> tuple[DesiredChange, ...]:
    """Return all differences from `before` to `after`."""
    return tuple(_changes(before, after))


def _changes(before: Desired, after: Desired) -> Iterator[DesiredChange]:
    difference = differing(before.vips, after.vips)  # an edit keeps the objects that it does not change
    for key in difference.gone:
        yield DesiredChange(DiffKind.VIP_REMOVED, key, before.vips[key], None)
    for key in difference.changed:
        yield from _of_vip(key, before.vips[key], after.vips[key])
    for key in difference.new:
        yield DesiredChange(DiffKind.VIP_ADDED, key, None, after.vips[key])


def _of_vip(key: VipKey, old: DesiredVip, new: DesiredVip) -> Iterator[DesiredChange]:
    if old.vip != new.vip:
        yield DesiredChange(DiffKind.VIP_CHANGED, key, old, new, fields=_fields(old.vip, new.vip))
    if old.access is not new.access:
        yield DesiredChange(DiffKind.ACCESS_CHANGED, key, old, new)
    yield from _of_check(key, old, new)
    backends = differing(old.backends, new.backends)
    for address in backends.gone:
        yield DesiredChange(DiffKind.BACKEND_REMOVED, key, old.backends[address], None, address)
    for address in (*backends.changed, *backends.new):
        yield from _of_backend(key, address, old.backends.get(address), new.backends[address])


def _of_check(key: VipKey, old: DesiredVip, new: DesiredVip) -> Iterator[DesiredChange]:
    if old.checks == new.checks:
        return
    if len(old.checks) == len(new.checks) == 1:
        changed = _fields(old.checks[0], new.checks[0])
        yield DesiredChange(DiffKind.CHECK_CHANGED, key, old, new, fields=changed)
    elif not new.checks:
        yield DesiredChange(DiffKind.CHECK_REMOVED, key, old, new)
    else:
        yield DesiredChange(DiffKind.CHECK_CHANGED if old.checks else DiffKind.CHECK_ADDED, key, old, new)


def _of_backend(
    key: VipKey, address: IPAddress, old: DesiredBackend | None, new: DesiredBackend
) -> Iterator[DesiredChange]:
    if old is None:
        yield DesiredChange(DiffKind.BACKEND_ADDED, key, None, new, address)
    elif old.backend != new.backend:
        yield DesiredChange(DiffKind.BACKEND_CHANGED, key, old, new, address, _fields(old.backend, new.backend))
    elif old.drain != new.drain:
        yield DesiredChange(DiffKind.DRAIN_CHANGED, key, old, new, address)


def _fields(old: object, new: object) -> tuple[FieldChange, ...]:
    """Return the fields in which two objects of one dataclass differ."""
    names = [field.name for field in fields(old)]  # type: ignore[arg-type]
    pairs = ((name, getattr(old, name), getattr(new, name)) for name in names)
    return tuple(FieldChange(name, before, after) for name, before, after in pairs if before != after)
