# SPDX-License-Identifier: Apache-2.0
"""Tells the keeper of DNS names what is wanted of them, when VIPs with a name come, go, or stand otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xdplb.control.plan.dns_change import Wanted, Wish
from xdplb.control.plan.dns_wishes import place_of, wanted_of, wish_of
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.operating import VipStanding
from xdplb.control.writing.dns_keeper import DnsKeeper
from xdplb.control.writing.vip_watch import Looked
from xdplb.dns.records import Place
from xdplb.model.vip import Vip

__all__ = ["DnsWatch"]


class DnsWatch:
    """Knows the VIPs that have a name in DNS. Used in the event loop; a change costs what it touches.

    `why_not` returns why this host serves no VIP at all, "" if it does.
    """

    def __init__(self, keeper: DnsKeeper, why_not: Callable[[], str]) -> None:
        self._keeper, self._why_not = keeper, why_not
        self._vips: dict[int, tuple[Place, Vip, VipDraft, VipStanding]] = {}
        self._at: dict[Place, set[int]] = {}
        self._has_begun = False
        self._told_why = ""

    def look(self, looked: Iterable[Looked]) -> None:
        """Take note of how VIPs stand, by id; of one that is gone, there is no draft."""
        touched: set[Place] = set()
        for vip_id, draft, standing in looked:
            touched |= self._note(vip_id, draft, standing)
        if self._has_begun:
            self._tell(touched)

    def look_at_host(self) -> None:
        """Take note of whether this host serves at all. The first time, all VIPs have been looked at once."""
        why = self._why_not()
        if not self._has_begun:
            self._has_begun, self._told_why = True, why
            self._at = {place: vips for place, vips in self._at.items() if vips}
            self._keeper.begin({place: self._wanted(place) for place in self._at})
        elif why != self._told_why:
            self._told_why = why
            self._tell(list(self._at))

    def disturb(self) -> None:
        """Take note of it if that may have changed."""
        if self._has_begun:
            self.look_at_host()

    def _note(self, vip_id: int, draft: VipDraft | None, standing: VipStanding | None) -> set[Place]:
        """Note a VIP, and return the places that this may concern."""
        touched: set[Place] = set()
        if (before := self._vips.pop(vip_id, None)) is not None:
            touched.add(before[0])
            self._at[before[0]].discard(vip_id)
        if draft is not None and standing is not None and (place := place_of(draft.vip.vip)) is not None:
            self._vips[vip_id] = place, draft.vip.vip, draft, standing
            self._at.setdefault(place, set()).add(vip_id)
            touched.add(place)
        return touched

    def _tell(self, places: Iterable[Place]) -> None:
        for place in places:
            if self._at[place]:
                self._keeper.want(place, self._wanted(place))
            else:
                del self._at[place]
                self._keeper.leave(place)

    def _wanted(self, place: Place) -> Wanted:
        vips = [self._vips[vip_id] for vip_id in sorted(self._at[place])]
        return wanted_of((vip, self._wish(draft, standing)) for _, vip, draft, standing in vips)

    def _wish(self, draft: VipDraft, standing: VipStanding) -> Wish:
        return wish_of(draft, standing, self._told_why)
