"""Edits of a VIP's access list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from xdplb.control.edits.find import check_match, find_vip
from xdplb.control.edits.vips import with_record
from xdplb.control.state.snapshot import NO_ACCESS_LIST, BoundVip, Snapshot
from xdplb.model.access import AccessList
from xdplb.model.address import IPNetwork

__all__ = ["patch_access", "put_access"]


def put_access(state: Snapshot, ref: str, access: AccessList, *, if_match: int | None = None) -> Snapshot:
    """Make this the access list; an empty one takes it away."""
    present = find_vip(state, ref)
    check_match(f"VIP {present.vip.key}", present.generation, if_match)
    return _with_access(state, present, access)


def patch_access(
    state: Snapshot,
    ref: str,
    *,
    allow: Iterable[IPNetwork] | None,
    deny: Iterable[IPNetwork] | None,
    if_match: int | None = None,
) -> Snapshot:
    """Replace one half of the access list, or both; None leaves a half as it is."""
    present = find_vip(state, ref)
    check_match(f"VIP {present.vip.key}", present.generation, if_match)
    half = present.access.allow if allow is None else allow
    other = present.access.deny if deny is None else deny
    return _with_access(state, present, AccessList(half, other))


def _with_access(state: Snapshot, present: BoundVip, access: AccessList) -> Snapshot:
    if present.access == access:
        return state
    return with_record(state, replace(present, access=access or NO_ACCESS_LIST))
