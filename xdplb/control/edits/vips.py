"""Edits of VIPs, their health checks and access lists: each takes the desired state and returns the next one."""

from __future__ import annotations

from dataclasses import fields, replace

from xdplb.control.edits.edit import (
    CreateVip,
    DeleteCheck,
    DeleteVip,
    PatchAccess,
    PatchVip,
    PutAccess,
    PutCheck,
    PutVip,
)
from xdplb.control.edits.find import vip_of
from xdplb.control.edits.overlap import check_new_vip
from xdplb.control.edits.patch import patched_vip
from xdplb.control.edits.rules import check_settings
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredVip
from xdplb.model.access import AccessList
from xdplb.model.errors import ConflictError, FieldProblem, NotFoundError
from xdplb.model.health import check_fits
from xdplb.model.host import NO_HOST, Host
from xdplb.model.vip import Vip

__all__ = [
    "create_vip",
    "delete_check",
    "delete_vip",
    "differences",
    "patch_access",
    "patch_vip",
    "put_access",
    "put_check",
    "put_vip",
]


def create_vip(desired: Desired, edit: CreateVip, host: Host) -> Desired:
    """Add a VIP; ConflictError if it exists with other settings."""
    vip, present = edit.vip, desired.vips.get(edit.vip.key)
    if present is not None and present.vip != vip:
        differing = differences(present.vip, vip)
        raise ConflictError(
            f"VIP {vip.key} already exists, with a different {', '.join(field.detail for field in differing)}",
            hint="change it with xdplb vip set, or PUT or PATCH",
            problems=differing,
        )
    return _with_settings(desired, vip, host)


def put_vip(desired: Desired, edit: PutVip, host: Host) -> Desired:
    """Add a VIP, or replace its settings."""
    return _with_settings(desired, edit.vip, host)


def patch_vip(desired: Desired, edit: PatchVip) -> Desired:
    """Change some fields of a VIP."""
    return _with_settings(desired, patched_vip(vip_of(desired, edit.key).vip, edit.changes), NO_HOST)


def delete_vip(desired: Desired, edit: DeleteVip) -> Desired:
    """Remove a VIP with its backends, check and access list."""
    vip_of(desired, edit.key)
    return desired.without_vip(edit.key)


def put_check(desired: Desired, edit: PutCheck) -> Desired:
    """Set the VIP's health check."""
    present = vip_of(desired, edit.key)
    check_fits(edit.check, edit.key)
    return desired if present.check == edit.check else desired.with_vip(replace(present, check=edit.check))


def delete_check(desired: Desired, edit: DeleteCheck) -> Desired:
    """Stop checking the VIP's backends."""
    present = vip_of(desired, edit.key)
    if present.check is None:
        raise NotFoundError(f"VIP {edit.key} has no health check", hint="PUT one to check its backends")
    return desired.with_vip(replace(present, check=None))


def put_access(desired: Desired, edit: PutAccess) -> Desired:
    """Replace the access list; an empty one removes it."""
    return _with_access(desired, vip_of(desired, edit.key), edit.access)


def patch_access(desired: Desired, edit: PatchAccess) -> Desired:
    """Replace the allowed prefixes, the denied ones, or both."""
    present = vip_of(desired, edit.key)
    allow = present.access.allow if edit.allow is None else edit.allow
    deny = present.access.deny if edit.deny is None else edit.deny
    return _with_access(desired, present, AccessList(allow, deny))


def differences(present: object, asked: object) -> tuple[FieldProblem, ...]:
    """Return the fields in which two objects of one dataclass differ, each with both values."""
    names = [field.name for field in fields(present)]  # type: ignore[arg-type]
    pairs = ((name, getattr(present, name), getattr(asked, name)) for name in names)
    return tuple(
        FieldProblem(f"/{name}", f"{name} ({_show(old)}, asked {_show(new)})") for name, old, new in pairs if old != new
    )


def _with_settings(desired: Desired, vip: Vip, host: Host) -> Desired:
    """Return the state with this VIP added, which `host` must allow, or its settings replaced."""
    present = desired.vips.get(vip.key)
    if present is not None and present.vip == vip:
        return desired
    _check_name(desired, vip)
    if present is None:
        check_new_vip(desired, vip.key, host)
        return desired.with_vip(DesiredVip(vip))
    changed = replace(present, vip=vip)
    if _asked_of_backends(present.vip) != _asked_of_backends(vip):
        check_settings(changed)
    return desired.with_vip(changed)


def _asked_of_backends(vip: Vip) -> tuple[object, ...]:
    """Return the settings that backends must fit."""
    return vip.forward, vip.scheduler, vip.quic


def _show(value: object) -> str:
    return "none" if value is None else str(value)


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
