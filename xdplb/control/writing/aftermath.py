# SPDX-License-Identifier: Apache-2.0
"""What changes did to traffic, told some seconds after each: what was foretold beside what the counters show."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from xdplb.control.events import ChangeCameOut, Events
from xdplb.control.plan.impact import Impact
from xdplb.control.writing.request import Outcome
from xdplb.control.writing.writer import Writer
from xdplb.model.errors import XdplbError
from xdplb.model.vip import VipKey

__all__ = ["Aftermath"]

_MOST_WATCHED = 64
"""How many changes are watched at once. When more come, the oldest is told early."""
_MOST_VIPS = 256
"""Of how many VIPs of a change the counters are read."""


@dataclass(slots=True)
class _Watched:
    """A change, the ids of the VIPs that it touched, when it was made, and their packets at risk until then."""

    generation: int
    impact: Impact
    vip_ids: tuple[int, ...]
    at: float
    before: dict[int, int] = field(default_factory=dict)


class Aftermath:
    """Looks at the counters of the VIPs that a change touches, when the maps have it and `seconds` later."""

    def __init__(self, writer: Writer, events: Events, *, seconds: float) -> None:
        self._writer, self._events, self._seconds = writer, events, seconds
        self._new: list[_Watched] = []
        self._watched: deque[_Watched] = deque()
        self._came = asyncio.Event()

    def begin(self, outcome: Outcome) -> None:
        """Watch what this change does, if it may do anything to packets; the maps have it now."""
        impact = outcome.impact
        if not (any(not table.is_first for table in impact.tables) or impact.cut_off or impact.risks):
            return
        at = asyncio.get_running_loop().time()
        keys = _touched(impact)
        vips = [vip.id for key in keys if (vip := outcome.after.vips.get(key)) is not None]
        self._new.append(_Watched(outcome.generation, impact, tuple(vips[:_MOST_VIPS]), at))
        self._came.set()

    async def run(self) -> None:
        """Forever: tell what became of each change."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait()):
                    await self._came.wait()
            self._came.clear()
            with contextlib.suppress(XdplbError):  # the maps cannot be read: others say so
                await self._turn()

    def _wait(self) -> float | None:
        if not self._watched:
            return None
        return max(0.0, self._watched[0].at + self._seconds - asyncio.get_running_loop().time())

    async def _turn(self) -> None:
        new, self._new = self._new, []
        self._watched.extend(new)
        now = asyncio.get_running_loop().time()
        over: list[_Watched] = []
        while self._watched and (len(self._watched) > _MOST_WATCHED or self._watched[0].at + self._seconds <= now):
            over.append(self._watched.popleft())
        at_risk = await self._read({vip_id for each in (*new, *over) for vip_id in each.vip_ids})
        for each in new:
            each.before = {vip_id: at_risk[vip_id] for vip_id in each.vip_ids if vip_id in at_risk}
        for each in over:
            self._tell(each, at_risk, now)

    async def _read(self, vip_ids: Collection[int]) -> dict[int, int]:
        """Return the packets at risk of these VIPs."""
        if not vip_ids:
            return {}
        counters = await self._writer.read_maps(lambda: self._writer.applier.vip_packets(vip_ids))
        return {vip_id: counter.at_risk for vip_id, counter in counters.items()}

    def _tell(self, each: _Watched, at_risk: dict[int, int], now: float) -> None:
        more = sum(max(0, at_risk.get(vip_id, before) - before) for vip_id, before in each.before.items())
        impact, keys = each.impact, _touched(each.impact)
        self._events.say(
            ChangeCameOut(
                generation=each.generation,
                vip=str(keys[0]) if len(keys) == 1 else None,
                vips=len(keys),
                slots_moved=sum(table.moved for table in impact.tables if not table.is_first),
                flows_lost=impact.flows,
                at_most=impact.at_risk.at_most,
                at_risk_packets=more,
                seconds=round(now - each.at, 1),
                touched=tuple(str(key) for key in keys[:_MOST_VIPS]),
            )
        )


def _touched(impact: Impact) -> list[VipKey]:
    """Return the VIPs that a change does something to."""
    tables, cut_off = (table.vip for table in impact.tables), (each.vip for each in impact.cut_off)
    return list(dict.fromkeys([*tables, *cut_off, *(risk.vip for risk in impact.risks)]))
