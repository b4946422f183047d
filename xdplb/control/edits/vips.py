# SPDX-License-Identifier: Apache-2.0
"""Edits of VIPs, their health checks and access lists: each takes the desired state and returns the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from xdplb.control.edits.assemble import assembled, check_assembled, with_checks
from xdplb.control.edits.differences import differences
from xdplb.control.edits.edit import (
    CreateVip,
    DeleteCheck,
    DeleteChecks,
    DeleteVip,
    PatchAccess,
    PatchVip,
    PutAccess,
    PutCheck,
    PutChecks,
    PutVip,
)
from xdplb.control.edits.find import vip_of
from xdplb.control.edits.overlap import check_new_vip
from xdplb.control.edits.patch import patched_vip
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredVip
from xdplb.model.access import AccessList
from xdplb.model.errors import ConflictError, FieldProblem, NotFoundError, within
from xdplb.model.health import HealthCheck, fitted
from xdplb.model.host import NO_HOST, Host
from xdplb.model.vip import Vip

__all__ = [
    "create_vip",
    "delete_check",
    "delete_checks",
    "delete_vip",
    "patch_access",
    "patch_vip",
    "put_access",
    "put_check",
    "put_checks",
    "put_vip",
]


def create_vip(desired: Desired, edit: CreateVip, now: datetime, host: Host) -> Desired:
    """Add a VIP; ConflictError if it exists with other settings, or other ones of the parts that are given."""
    key = edit.vip.key
    present = desired.vips.get(key)
    made = _with_vip(desired, edit, now, host)
    if present is not None and made is not desired:
        differing = _all_differences(present, made.vips[key])
        raise ConflictError(
            f"VIP {key} already exists, with a different {', '.join(field.detail for field in differing)}",
            hint="change it with xdplb vip set, or PUT or PATCH",
            problems=differing,
        )
    return made


def put_vip(desired: Desired, edit: PutVip, now: datetime, host: Host) -> Desired:
    """Add a VIP, or replace its settings and the parts that are given."""
    return _with_vip(desired, edit, now, host)


def patch_vip(desired: Desired, edit: PatchVip, now: datetime) -> Desired:
    """Change some fields of a VIP."""
    patched = PutVip(patched_vip(vip_of(desired, edit.key).vip, edit.changes))
    return _with_vip(desired, patched, now, NO_HOST)


def delete_vip(desired: Desired, edit: DeleteVip) -> Desired:
    """Remove a VIP with its backends, check and access list."""
    vip_of(desired, edit.key)
    return desired.without_vip(edit.key)


def put_check(desired: Desired, edit: PutCheck) -> Desired:
    """Set the VIP's only health check."""
    present = vip_of(desired, edit.key)
    _refuse_several(present)
    fitted(edit.check, edit.key)  # what is wrong with it is told of the check itself, not of a list
    return _with_checks(desired, present, (edit.check,))


def delete_check(desired: Desired, edit: DeleteCheck) -> Desired:
    """Remove the VIP's only health check."""
    present = vip_of(desired, edit.key)
    _refuse_several(present)
    return _without_checks(desired, present)


def put_checks(desired: Desired, edit: PutChecks) -> Desired:
    """Set all health checks of the VIP."""
    with within("/checks"):
        return _with_checks(desired, vip_of(desired, edit.key), edit.checks)


def delete_checks(desired: Desired, edit: DeleteChecks) -> Desired:
    """Stop checking the VIP's backends."""
    return _without_checks(desired, vip_of(desired, edit.key))


def _with_checks(desired: Desired, present: DesiredVip, asked: Sequence[HealthCheck]) -> Desired:
    checks = with_checks(present.checks, asked, present.vip.key)
    return desired if checks is present.checks else desired.with_vip(replace(present, checks=checks))


def _without_checks(desired: Desired, present: DesiredVip) -> Desired:
    if not present.checks:
        raise NotFoundError(f"VIP {present.vip.key} has no health check", hint="PUT one to check its backends")
    return desired.with_vip(replace(present, checks=()))


def _refuse_several(present: DesiredVip) -> None:
    if len(present.checks) > 1:
        raise ConflictError(
            f"VIP {present.vip.key} has {len(present.checks)} health checks, and this would be about one",
            hint=f"change all: PUT or DELETE /v1/vips/{present.vip.key.path}/checks, or xdplb health add and rm",
        )


def put_access(desired: Desired, edit: PutAccess) -> Desired:
    """Replace the access list; an empty one removes it."""
    return _with_access(desired, vip_of(desired, edit.key), edit.access)


def patch_access(desired: Desired, edit: PatchAccess) -> Desired:
    """Replace the allowed prefixes, the denied ones, or both."""
    present = vip_of(desired, edit.key)
    allow = present.access.allow if edit.allow is None else edit.allow
    deny = present.access.deny if edit.deny is None else edit.deny
    return _with_access(desired, present, AccessList(allow, deny))


def _all_differences(present: DesiredVip, asked: DesiredVip) -> tuple[FieldProblem, ...]:
    parts = [
        FieldProblem(f"/{name}", text)
        for name, text, is_same in (
            ("backends", "backends", present.backends is asked.backends),
            ("checks", "set of checks", present.checks is asked.checks),
            ("access", "access", present.access is asked.access),
        )
        if not is_same
    ]
    return (*differences(present.vip, asked.vip), *parts)


def _with_vip(desired: Desired, edit: CreateVip | PutVip, now: datetime, host: Host) -> Desired:
    """Return the state with this VIP, which `host` must allow if it is new."""
    key = edit.vip.key
    old = desired.vips.get(key)
    new = assembled(old, edit, now)
    if new is old:
        return desired
    _check_name(desired, edit.vip)
    after = desired.with_vip(new)
    check_assembled(after, old, new, edit.backends)
    if old is None:
        check_new_vip(after, key, host)
    return after


def _check_name(desired: Desired, vip: Vip) -> None:
    holder = None if vip.name is None else desired.places.names.get(vip.name)
    if holder is not None and holder != vip.key:
        raise ConflictError.field(
            "/name",
            f"the name {vip.name!r} is taken by VIP {holder}",
            hint="a name can belong to only one VIP: choose another",
        )


def _with_access(desired: Desired, present: DesiredVip, access: AccessList) -> Desired:
    if present.access == access:
        return desired
    return desired.with_vip(replace(present, access=access or NO_ACCESS_LIST))
