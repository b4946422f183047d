# SPDX-License-Identifier: Apache-2.0
"""Replacing the whole desired state by a configuration, as a difference: what is equal stays the same object.

All is compared with all, which takes about a microsecond for each backend. Checks, and all that follows a change, cost
what is different.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from xdplb.control.edits.assemble import assembled, check_assembled
from xdplb.control.edits.edit import ClearOverlay, PutConfig
from xdplb.control.edits.overlap import check_new_vip
from xdplb.control.edits.overlay import clear_overlay, owned
from xdplb.control.state.desired import Desired, DesiredVip
from xdplb.control.state.places import Places
from xdplb.model.config import DeclaredVip
from xdplb.model.errors import ConflictError, InvalidError, within
from xdplb.model.host import Host
from xdplb.model.vip import VipKey

__all__ = ["put_config"]

_FEW = 8


def put_config(desired: Desired, edit: PutConfig, now: datetime, host: Host) -> Desired:
    """Return the state that a configuration declares, under the overlays that are there.

    Errors point into the configuration, such as `/vips/3/backends/0/weight`. OwnedError if the API asks for anything
    that a file declares otherwise.
    """
    asked = edit.config.vips
    if edit.clear_overlay:
        desired = clear_overlay(desired, ClearOverlay(), now)
    vips, changed = _vips(desired, asked, now)
    after = replace(desired, settings=edit.config.settings, owner=edit.owner or desired.owner)
    if len(vips) == len(desired.vips) and not changed:
        after = after.with_vips(desired.vips, desired.places)
    else:
        after = after.with_vips(vips, _places(desired, vips, changed))
        _check(desired, after, asked, changed, host)
    if after == desired:
        return desired
    if desired.owner and not edit.owner:
        raise owned(desired, "replace the whole configuration by another one")
    return after


def _vips(
    desired: Desired, asked: Sequence[DeclaredVip], now: datetime
) -> tuple[dict[VipKey, DesiredVip], dict[VipKey, int]]:
    """Return all VIPs, those that are there already in their order, and the places in `asked` of those that differ."""
    given: dict[VipKey, DesiredVip] = {}
    changed: dict[VipKey, int] = {}
    for index, config in enumerate(asked):
        key = config.key
        if key in given:
            raise InvalidError.field(config.pointer, f"VIP {key} is given twice", hint="give each VIP once")
        old = desired.vips.get(key)
        with within(config.pointer):
            given[key] = assembled(old, config, now)
        if given[key] is not old:
            changed[key] = index
    kept = {key: given[key] for key in desired.vips if key in given}
    return {**kept, **given}, changed


def _places(desired: Desired, vips: Mapping[VipKey, DesiredVip], changed: Collection[VipKey]) -> Places:
    """Return where all is after the change: found anew if much has changed, or if names may have been exchanged."""
    olds = [desired.vips.get(key) for key in changed]
    is_small = len(changed) <= _FEW and len(vips) == len(desired.vips)
    if not is_small or any(old is None or old.vip.name != vips[old.vip.key].vip.name for old in olds):
        return Places.of(vips.values())
    places = desired.places
    for key in changed:
        places = places.after(desired.vips[key], vips[key])
    return places


def _check(
    before: Desired, after: Desired, asked: Sequence[DeclaredVip], changed: Mapping[VipKey, int], host: Host
) -> None:
    _check_names(before, after, asked, changed)
    for key, index in changed.items():
        old, new = before.vips.get(key), after.vips[key]
        with within(asked[index].pointer):
            check_assembled(after, old, new, asked[index].backends)
            if old is None:
                check_new_vip(after, key, host)


def _check_names(before: Desired, after: Desired, asked: Sequence[DeclaredVip], changed: Mapping[VipKey, int]) -> None:
    """Refuse a name that two VIPs have then. They may exchange names, or take one over, in this one step."""
    names = [after.vips[key].vip.name for key in changed]
    if all(key in before.vips and before.vips[key].vip.name == name for key, name in zip(changed, names, strict=True)):
        return
    holders: dict[str, VipKey] = {}
    for vip in after.vips.values():
        key, name = vip.vip.key, vip.vip.name
        if name is None:
            continue
        holder = holders.setdefault(name, key)
        if holder != key:
            index = changed[key] if key in changed else changed[holder]
            other = holder if key in changed else key
            raise ConflictError.field(
                f"{asked[index].pointer}/name",
                f"the name {name!r} is taken by VIP {other}",
                hint="a name can belong to only one VIP: choose another",
            )
