# SPDX-License-Identifier: Apache-2.0
"""The features that the program must be compiled with, for everything that will be in the maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from xdplb.control.plan.drafting import draft
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.eligibility import Observed
from xdplb.control.state.snapshot import BoundVip, Snapshot
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.needs import needs_of
from xdplb.model.vip import VlanTags

__all__ = ["features_needed", "features_needed_at_start"]


def features_needed(drafts: Iterable[VipDraft], *, vlan: bool) -> Features:
    """Return the features that the program needs for these VIPs, as far as they are not as in the drafts before them.

    `vlan`: tagged frames may come in.
    """
    needed: set[Feature] = {Feature.VLAN} if vlan else set()
    for one in drafts:
        needed |= needs_of((one.entry,))
        needed.update(*{backend.needs for backend in one.concerned.values()})
        if one.vip.vip.vlan is VlanTags.KEEP:  # not in the VIP's entry but in those of its backends
            needed.add(Feature.VLAN)
    return frozenset(needed)


def features_needed_at_start(snapshot: Snapshot, observed: Observed) -> Features:
    """Return the features that are known to be needed before the first plan."""
    vips = (_with_one_of_each_kind(vip) for vip in snapshot.vips.values())
    drafts = (draft(vip, observed, {}, None) for vip in vips)
    return features_needed(drafts, vlan=observed.vlan)


def _with_one_of_each_kind(vip: BoundVip) -> BoundVip:
    """Return the VIP with few of its backends: of thousands, most need the same."""
    kinds = {
        (vip.forward_of(one.backend), one.backend.address.version, bool(one.backend.max_new_flows)): one
        for one in vip.backends.values()
    }
    return replace(vip, backends={one.backend.address: one for one in kinds.values()})
