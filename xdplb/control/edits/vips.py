"""Edits of VIPs and their health checks: what each makes of what is desired."""

from __future__ import annotations

from dataclasses import fields, replace

from xdplb.control.edits.edit import CreateVip, DeleteCheck, DeleteVip, PatchVip, PutCheck, PutVip
from xdplb.control.edits.find import vip_of
from xdplb.control.edits.overlap import check_new_vip
from xdplb.control.edits.patch import patched_vip
from xdplb.control.edits.rules import check_settings
from xdplb.control.state.desired import Desired, DesiredVip
from xdplb.model.errors import ConflictError, FieldProblem, InvalidError, NotFoundError
from xdplb.model.vip import Vip

__all__ = ["create_vip", "delete_check", "delete_vip", "differences", "patch_vip", "put_check", "put_vip"]


def create_vip(desired: Desired, edit: CreateVip) -> Desired:
    """Add a VIP; ConflictError if a different one is there."""
    vip, present = edit.vip, desired.vips.get(edit.vip.key)
    if present is not None and present.vip != vip:
        differing = differences(present.vip, vip)
        raise ConflictError(
            f"VIP {vip.key} is there already and differs in {', '.join(field.detail for field in differing)}",
            hint="change it with xdplb vip set, or PUT or PATCH",
            problems=differing,
        )
    return _with_settings(desired, vip)


def put_vip(desired: Desired, edit: PutVip) -> Desired:
    """Add a VIP or make it what is given."""
    return _with_settings(desired, edit.vip)


def patch_vip(desired: Desired, edit: PatchVip) -> Desired:
    """Change some fields of a VIP."""
    return _with_settings(desired, patched_vip(vip_of(desired.vips, edit.key).vip, edit.changes))


def delete_vip(desired: Desired, edit: DeleteVip) -> Desired:
    """Remove a VIP with all that is its own."""
    vip_of(desired.vips, edit.key)
    return desired.without_vip(edit.key)


def put_check(desired: Desired, edit: PutCheck) -> Desired:
    """Check the VIP's backends as given."""
    present = vip_of(desired.vips, edit.key)
    if edit.key.port == 0 and edit.check.port is None:
        raise InvalidError.field(
            "/port", f"VIP {edit.key} has all ports: its check needs one", hint="name the port to check"
        )
    return desired if present.check == edit.check else desired.with_vip(replace(present, check=edit.check))


def delete_check(desired: Desired, edit: DeleteCheck) -> Desired:
    """Stop checking the VIP's backends."""
    present = vip_of(desired.vips, edit.key)
    if present.check is None:
        raise NotFoundError(f"VIP {edit.key} has no health check", hint="PUT one to have its backends checked")
    return desired.with_vip(replace(present, check=None))


def differences(present: object, asked: object) -> tuple[FieldProblem, ...]:
    """Name the fields in which two values of one dataclass differ, each with both values."""
    names = [field.name for field in fields(present)]  # type: ignore[arg-type]
    pairs = ((name, getattr(present, name), getattr(asked, name)) for name in names)
    return tuple(
        FieldProblem(f"/{name}", f"{name} ({_show(old)}, asked {_show(new)})") for name, old, new in pairs if old != new
    )


def _with_settings(desired: Desired, vip: Vip) -> Desired:
    """Return the same with a VIP that has these settings."""
    present = desired.vips.get(vip.key)
    if present is not None and present.vip == vip:
        return desired
    _check_name(desired, vip)
    if present is None:
        check_new_vip(desired, vip.key)
        return desired.with_vip(DesiredVip(vip))
    changed = replace(present, vip=vip)
    check_settings(changed)
    return desired.with_vip(changed)


def _show(value: object) -> str:
    return "none" if value is None else str(value)


def _check_name(desired: Desired, vip: Vip) -> None:
    for key, other in desired.vips.items():
        if vip.name is not None and other.vip.name == vip.name and key != vip.key:
            raise ConflictError.field(
                "/name", f"the name {vip.name!r} is taken by VIP {key}", hint="a name is of one VIP: choose another"
            )
