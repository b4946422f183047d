"""Applying an edit to the desired state. Pure; raises an error that says why an edit is refused."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from xdplb.control.edits import backends, vips
from xdplb.control.edits.edit import (
    Batch,
    CreateBackend,
    CreateVip,
    DeleteBackend,
    DeleteCheck,
    DeleteVip,
    DrainBackend,
    Edit,
    PatchAccess,
    PatchBackend,
    PatchVip,
    PutAccess,
    PutBackend,
    PutCheck,
    PutVip,
    ReplaceBackends,
    SingleEdit,
    UndrainBackend,
)
from xdplb.control.state.desired import Desired
from xdplb.model.errors import FieldProblem, XdplbError
from xdplb.model.host import NO_HOST, Host

__all__ = ["apply_edit"]


def apply_edit(desired: Desired, edit: Edit, now: datetime, host: Host = NO_HOST) -> Desired:
    """Return the desired state after the edit, or the same object if nothing changes; `now` (UTC) starts drains.

    A new VIP must not take the ports of the own connections of `host`.
    Raises InvalidError, NotFoundError, ConflictError or CapacityError. In the error of a batch, field pointers start
    with the edit's index, such as `/edits/3/weight`.
    """
    if not isinstance(edit, Batch):
        return _apply(desired, edit, now, host)
    for place, part in enumerate(edit.edits):
        try:
            desired = _apply(desired, part, now, host)
        except XdplbError as error:
            error.problems = tuple(
                FieldProblem(f"/edits/{place}{problem.pointer}", problem.detail) for problem in error.problems
            ) or (FieldProblem(f"/edits/{place}", error.detail),)
            raise
    return desired


def _apply(  # noqa: C901, PLR0911, PLR0912 - a table
    desired: Desired, edit: SingleEdit, now: datetime, host: Host
) -> Desired:
    match edit:
        case CreateVip():
            return vips.create_vip(desired, edit, host)
        case PutVip():
            return vips.put_vip(desired, edit, host)
        case PatchVip():
            return vips.patch_vip(desired, edit)
        case DeleteVip():
            return vips.delete_vip(desired, edit)
        case PutCheck():
            return vips.put_check(desired, edit)
        case DeleteCheck():
            return vips.delete_check(desired, edit)
        case PutAccess():
            return vips.put_access(desired, edit)
        case PatchAccess():
            return vips.patch_access(desired, edit)
        case CreateBackend():
            return backends.create_backend(desired, edit, now)
        case PutBackend():
            return backends.put_backend(desired, edit, now)
        case PatchBackend():
            return backends.patch_backend(desired, edit, now)
        case DeleteBackend():
            return backends.delete_backend(desired, edit)
        case ReplaceBackends():
            return backends.replace_backends(desired, edit, now)
        case DrainBackend():
            return backends.drain_backend(desired, edit, now)
        case UndrainBackend():
            return backends.undrain_backend(desired, edit, now)
        case _:
            assert_never(edit)
