# SPDX-License-Identifier: Apache-2.0
"""Tells when the status of a VIP changes: once a change, and none of what lasts shorter than a moment.

A storm of flips concerns the same VIPs again and again, so they are looked at together, a moment after the first flip.
That is never in the way of a flip: what is looked at is what the maps were written from, and it is looked at in parts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from xdplb.control.events import Events, VipStatusChanged
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.operating import OperatingStatus, VipStanding
from xdplb.control.plan.policies import Traits
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.dirty import Dirty

__all__ = ["Looked", "VipWatch"]

Looked = tuple[int, VipDraft | None, VipStanding | None]
"""The id of a VIP that was looked at, and how it stands; without a draft, it is gone."""

_SETTLE_SECONDS = 0.2
_A_PART = 64
"""VIPs that are looked at in one go: well below a millisecond, unless they fail open."""

_WELL = VipStanding(1, 1, OperatingStatus.ONLINE)
"""What is expected of a VIP of which nothing has been told."""


class VipWatch:
    """Says events about VIPs whose status is another one than before. Used in the event loop."""

    def __init__(self, applier: Applier, events: Events) -> None:
        self._applier, self._events = applier, events
        self._told: dict[int, tuple[str, VipStanding]] = {}
        self._touched: set[int] = set()
        self.counts: Counter[OperatingStatus] = Counter()
        """How many VIPs have each status, apart from those whose checks have had no result yet."""
        self._came = asyncio.Event()
        self.on_looked: Callable[[Sequence[Looked]], None] = lambda _: None
        """Called in the event loop with the VIPs that were looked at, some at a time."""
        self.on_all_looked: Callable[[], None] = lambda: None
        """Called when all were looked at that were touched; the first time, these are all there are."""

    def touch(self, dirty: Dirty) -> None:
        """Look soon at these VIPs, which the maps have anew."""
        known = self._applier.known.drafts.keys()
        self._touched.update(known | self._told.keys() if dirty.everything else dirty.vips.keys())
        self._came.set()

    async def run(self) -> None:
        """Forever: tell what has changed."""
        while True:
            await self._came.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            touched, self._touched = sorted(self._touched), set()
            for start in range(0, len(touched), _A_PART):
                self._look(touched[start : start + _A_PART])
                await asyncio.sleep(0)
            self.on_all_looked()
            if not self._touched:
                self._came.clear()

    def _look(self, vip_ids: list[int]) -> None:
        drafts = self._applier.known.drafts
        nics_carry = self._applier.nics.all_carry
        looked: list[Looked] = []
        for vip_id in vip_ids:
            draft = drafts.get(vip_id)
            if draft is None:
                self._forget(vip_id)
                looked.append((vip_id, None, None))
            else:
                standing = draft.standing(nics_carry=nics_carry)
                looked.append((vip_id, draft, standing))
                self._judge(vip_id, draft, standing)
        self.on_looked(looked)

    def _judge(self, vip_id: int, draft: VipDraft, standing: VipStanding) -> None:
        key = str(draft.vip.vip.key)
        told_of, before = self._told.get(vip_id, ("", None))
        if told_of != key:  # its id was another VIP's
            self._forget(vip_id)
            before = None
        if _may_soon_be_well(draft, before, standing):
            return  # it is looked at again once the checks of those that are new have had a result
        self._forget(vip_id)
        self._told[vip_id] = key, standing
        self.counts[standing.status] += 1
        if before is None and standing.status is OperatingStatus.NO_BACKEND:
            return
        known = _WELL if before is None else before
        if (standing.status, standing.min_serving_met) != (known.status, known.min_serving_met):
            was = None if before is None else before.status.value
            self._events.say(VipStatusChanged(key, standing.status.value, was, standing.serving, standing.needed))

    def _forget(self, vip_id: int) -> None:
        if (told := self._told.pop(vip_id, None)) is not None:
            self.counts[told[1].status] -= 1


def _may_soon_be_well(draft: VipDraft, before: VipStanding | None, standing: VipStanding) -> bool:
    """Return whether nothing is wrong but that checks of new backends have had no result yet."""
    waiting = draft.tally.count(Traits.WAITS, Traits.BACKUP)
    if not waiting or draft.rule.serving + waiting < draft.rule.asked:
        return False
    return before is None or before.status is OperatingStatus.NO_BACKEND or standing.min_serving_met
