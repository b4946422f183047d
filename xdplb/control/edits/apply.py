# SPDX-License-Identifier: Apache-2.0
"""Applying an edit to the desired state. Pure; raises an error that says why an edit is refused."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from xdplb.control.edits import backends, config, overlay, vips
from xdplb.control.edits.edit import (
    Batch,
    ClearOverlay,
    CreateBackend,
    CreateVip,
    DeleteBackend,
    DeleteCheck,
    DeleteChecks,
    DeleteVip,
    DrainBackend,
    Edit,
    PatchAccess,
    PatchBackend,
    PatchVip,
    PutAccess,
    PutBackend,
    PutCheck,
    PutChecks,
    PutConfig,
    PutVip,
    ReleaseConfig,
    ReplaceBackends,
    SingleEdit,
    UndrainBackend,
    WholeEdit,
)
from xdplb.control.state.desired import Desired
from xdplb.model.errors import within
from xdplb.model.host import NO_HOST, Host

__all__ = ["apply_edit"]


def apply_edit(desired: Desired, edit: Edit, now: datetime, host: Host = NO_HOST) -> Desired:
    """Return the desired state after the edit, or the same object if nothing changes; `now` (UTC) starts drains.

    A new VIP must not take the ports of the own connections of `host`.
    Raises InvalidError, NotFoundError, ConflictError or CapacityError, OwnedError if a config file owns the state and
    the edit changes more than may be laid over it. In the error of a batch, field pointers start
    with the edit's index, such as `/edits/3/weight`.
    """
    after = _apply_all(desired, edit, now, host)
    if after is desired or not desired.owner or isinstance(edit, PutConfig | ReleaseConfig):
        return after
    return overlay.overlaid(desired, after)


def _apply_all(desired: Desired, edit: Edit, now: datetime, host: Host) -> Desired:
    if not isinstance(edit, Batch):
        return _apply(desired, edit, now, host)
    for place, part in enumerate(edit.edits):
        with within(f"/edits/{place}"):
            desired = _apply(desired, part, now, host)
    return desired


def _apply(  # noqa: C901, PLR0911, PLR0912 - a table
    desired: Desired, edit: SingleEdit | WholeEdit, now: datetime, host: Host
) -> Desired:
    match edit:
        case CreateVip():
            return vips.create_vip(desired, edit, now, host)
        case PutVip():
            return vips.put_vip(desired, edit, now, host)
        case PatchVip():
            return vips.patch_vip(desired, edit, now)
        case DeleteVip():
            return vips.delete_vip(desired, edit)
        case PutCheck():
            return vips.put_check(desired, edit)
        case DeleteCheck():
            return vips.delete_check(desired, edit)
        case PutChecks():
            return vips.put_checks(desired, edit)
        case DeleteChecks():
            return vips.delete_checks(desired, edit)
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
        case PutConfig():
            return config.put_config(desired, edit, now, host)
        case ReleaseConfig():
            return overlay.release_config(desired)
        case ClearOverlay():
            return overlay.clear_overlay(desired, edit, now)
        case _:
            assert_never(edit)
