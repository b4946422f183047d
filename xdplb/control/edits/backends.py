# SPDX-License-Identifier: Apache-2.0
"""Edits of a VIP's backends, including drains: each takes the desired state and returns the next one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from xdplb.control.edits.assemble import as_shown, asked_backend, check_assembled, with_backends
from xdplb.control.edits.differences import differences
from xdplb.control.edits.edit import (
    KEEP,
    CreateBackend,
    DeleteBackend,
    DrainBackend,
    PatchBackend,
    PutBackend,
    ReplaceBackends,
    UndrainBackend,
)
from xdplb.control.edits.find import no_backend, vip_of
from xdplb.control.edits.patch import patched_backend
from xdplb.control.state.desired import Desired, DesiredBackend, DesiredVip, Drain
from xdplb.control.state.differing import without
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend
from xdplb.model.errors import ConflictError, InvalidError

__all__ = [
    "check_drain_times",
    "create_backend",
    "delete_backend",
    "drain_backend",
    "patch_backend",
    "put_backend",
    "replace_backends",
    "undrain_backend",
]

_LONGEST_DRAIN_SECONDS = 7 * 86400.0


def create_backend(desired: Desired, edit: CreateBackend, now: datetime) -> Desired:
    """Add a backend; ConflictError if it exists with other settings."""
    vip, backend = vip_of(desired, edit.key), edit.backend
    present = vip.backends.get(backend.address)
    backend = as_shown(present, backend, vip.vip)
    if present is not None and present.backend != backend:
        differing = differences(present.backend, backend)
        raise ConflictError(
            f"backend {backend.address} of VIP {edit.key} already exists, with a different"
            f" {', '.join(field.detail for field in differing)}",
            hint="change it with xdplb backend set, or PUT or PATCH",
            problems=differing,
        )
    return _with_backend(desired, vip, backend, now)


def put_backend(desired: Desired, edit: PutBackend, now: datetime) -> Desired:
    """Add a backend, or replace its settings."""
    vip = vip_of(desired, edit.key)
    return _with_backend(desired, vip, as_shown(vip.backends.get(edit.backend.address), edit.backend, vip.vip), now)


def patch_backend(desired: Desired, edit: PatchBackend, now: datetime) -> Desired:
    """Change some fields of a backend."""
    vip = vip_of(desired, edit.key)
    present = _backend_of(vip, edit.address)
    return _with_backend(desired, vip, patched_backend(present.backend, edit.changes), now)


def delete_backend(desired: Desired, edit: DeleteBackend) -> Desired:
    """Remove a backend at once."""
    vip = vip_of(desired, edit.key)
    _backend_of(vip, edit.address)
    return desired.with_vip(replace(vip, backends=without(vip.backends, [edit.address])))


def replace_backends(desired: Desired, edit: ReplaceBackends, now: datetime) -> Desired:
    """Replace the VIP's backends. InvalidError points at one by its index, such as `/backends/3/address`."""
    vip = vip_of(desired, edit.key)
    backends = with_backends(vip, edit.backends, now)
    if backends is vip.backends:
        return desired
    replaced = replace(vip, backends=backends)
    after = desired.with_vip(replaced)
    check_assembled(after, vip, replaced, edit.backends)
    return after


def drain_backend(desired: Desired, edit: DrainBackend, now: datetime) -> Desired:
    """Stop sending new connections to the backend. A drain under way gets the new times and keeps its start."""
    vip = vip_of(desired, edit.key)
    present = _backend_of(vip, edit.address)
    check_drain_times(edit.timeout_seconds, edit.quiet_seconds)
    begun = Drain.begun(now) if present.drain is None else present.drain
    drained = DesiredBackend(
        replace(present.backend, admin_state=AdminState.DRAIN),
        Drain(begun.started, float(edit.timeout_seconds), float(edit.quiet_seconds), edit.cut_at_deadline, begun.id),
        present.declared,
    )
    if drained == present:
        return desired
    return desired.with_vip(replace(vip, backends={**vip.backends, edit.address: drained}))


def undrain_backend(desired: Desired, edit: UndrainBackend, now: datetime) -> Desired:
    """Send new connections to the backend again."""
    vip = vip_of(desired, edit.key)
    present = _backend_of(vip, edit.address)
    if present.backend.admin_state is AdminState.MAINT:
        raise ConflictError(
            f"backend {edit.address} is in maintenance, not draining", hint="set its admin_state to ready"
        )
    return _with_backend(desired, vip, replace(present.backend, admin_state=AdminState.READY), now)


def _backend_of(vip: DesiredVip, address: IPAddress) -> DesiredBackend:
    present = vip.backends.get(address)
    if present is None:
        raise no_backend(vip.vip.key, address)
    return present


def _with_backend(desired: Desired, vip: DesiredVip, backend: Backend, now: datetime) -> Desired:
    """Return the state with this backend added to the VIP, or replacing the one that has its address."""
    address, old = backend.address, vip.backends.get(backend.address)
    new = asked_backend(old, backend, now)
    if old is new:
        return desired
    changed = replace(vip, backends={**vip.backends, address: new})
    after = desired.with_vip(changed)
    check_assembled(after, vip, changed, KEEP)
    return after


def check_drain_times(timeout_seconds: float, quiet_seconds: float) -> None:
    """Raise InvalidError if a drain cannot have these times."""
    if not 0 < timeout_seconds <= _LONGEST_DRAIN_SECONDS:
        raise InvalidError.field(
            "/timeout_seconds",
            f"timeout_seconds is {timeout_seconds:g}",
            hint=f"use a value above 0, at most {_LONGEST_DRAIN_SECONDS:.0f} (a week)",
        )
    if not 0 <= quiet_seconds <= timeout_seconds:
        raise InvalidError.field(
            "/quiet_seconds",
            f"quiet_seconds is {quiet_seconds:g}, but the drain times out after {timeout_seconds:g} s",
            hint=f"use at most {timeout_seconds:g} for quiet_seconds, or a longer timeout_seconds",
        )
