"""What the program must be compiled for: the data plane's table of needs, asked of all that is to be in the maps."""

from __future__ import annotations

from collections.abc import Iterable

from xdplb.control.plan.drafts import VipDraft, draft
from xdplb.control.plan.eligibility import Observed, assess
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.needs import needs_of
from xdplb.model.vip import VlanTags

__all__ = ["features_needed", "features_needed_at_start"]


def features_needed(drafts: Iterable[VipDraft], *, vlan: bool) -> Features:
    """Return the features without which some packet of these VIPs would not go where it should.

    `vlan`: tagged frames may come in.
    """
    needed: set[Feature] = {Feature.VLAN} if vlan else set()
    for one in drafts:
        needed |= needs_of((one.entry,))
        needed.update(*{backend.needs for backend in one.backends.values()})
        if one.vip.vip.vlan is VlanTags.KEEP:  # what a VIP's entry does not say: it is in those of its backends
            needed.add(Feature.VLAN)
    return frozenset(needed)


def features_needed_at_start(snapshot: Snapshot, observed: Observed) -> Features:
    """Return what is needed as far as it is known before anything was planned."""
    drafts = (draft(vip, assess(vip, observed), observed, {}, None) for vip in snapshot.vips.values())
    return features_needed(drafts, vlan=observed.vlan)
