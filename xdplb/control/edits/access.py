"""Edits of a VIP's access list: each takes the desired state and returns the next one."""

from __future__ import annotations

from dataclasses import replace

from xdplb.control.edits.edit import PatchAccess, PutAccess
from xdplb.control.edits.find import vip_of
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredVip
from xdplb.model.access import AccessList

__all__ = ["patch_access", "put_access"]


def put_access(desired: Desired, edit: PutAccess) -> Desired:
    """Replace the access list; an empty one removes it."""
    return _with_access(desired, vip_of(desired.vips, edit.key), edit.access)


def patch_access(desired: Desired, edit: PatchAccess) -> Desired:
    """Replace the allowed prefixes, the denied ones, or both."""
    present = vip_of(desired.vips, edit.key)
    allow = present.access.allow if edit.allow is None else edit.allow
    deny = present.access.deny if edit.deny is None else edit.deny
    return _with_access(desired, present, AccessList(allow, deny))


def _with_access(desired: Desired, present: DesiredVip, access: AccessList) -> Desired:
    if present.access == access:
        return desired
    return desired.with_vip(replace(present, access=access or NO_ACCESS_LIST))
