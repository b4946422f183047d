"""When to have the kernel ask for a neighbour's MAC. Pure: the caller gives the time.

Forwarded frames never touch the kernel's neighbour table, so nothing but these probes keeps an entry fresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .resolve import NeighbourKey
from .rtmessages import Neighbour, NeighbourState

__all__ = ["ProbeSchedule"]

_FIRST_RETRY_SECONDS = 0.25
_LONGEST_RETRY_SECONDS = 10.0
_REFRESH_SECONDS = 15.0

_SURE = (
    NeighbourState.REACHABLE
    | NeighbourState.DELAY
    | NeighbourState.PROBE
    | NeighbourState.PERMANENT
    | NeighbourState.NOARP
)


@dataclass(slots=True)
class _Plan:
    """When the neighbour is looked at next, and the pause after that; `known`: the kernel had a MAC last time."""

    due: float
    pause: float
    known: bool


class ProbeSchedule:
    """Remembers what was asked for when: unknown MACs at once and then ever slower, stale ones now and then."""

    def __init__(self) -> None:
        self._plans: dict[NeighbourKey, _Plan] = {}

    def due(
        self, now: float, needed: Iterable[NeighbourKey], neighbours: Mapping[NeighbourKey, Neighbour]
    ) -> tuple[list[NeighbourKey], float]:
        """Return what to ask for now, and the time (seconds, as `now`) to come back unless something happens."""
        probes: list[NeighbourKey] = []
        plans: dict[NeighbourKey, _Plan] = {}
        for key in needed:
            neighbour = neighbours.get(key)
            state = NeighbourState.NONE if neighbour is None else neighbour.state
            plan = plans[key] = self._plan(now, key, known=bool(state & (_SURE | NeighbourState.STALE)))
            if plan.due <= now:
                if not state & _SURE:
                    probes.append(key)
                plan.due = now + plan.pause
                if not plan.known:
                    plan.pause = min(plan.pause * 2, _LONGEST_RETRY_SECONDS)
        self._plans = plans
        return probes, min((plan.due for plan in plans.values()), default=now + _REFRESH_SECONDS)

    def _plan(self, now: float, key: NeighbourKey, *, known: bool) -> _Plan:
        """Return the plan as it stands, or a new one when the neighbour is new, was just found or just lost."""
        plan = self._plans.get(key)
        if plan is not None and plan.known == known:
            return plan
        if known:
            return _Plan(now if plan is None else now + _REFRESH_SECONDS, _REFRESH_SECONDS, known)
        return _Plan(now, _FIRST_RETRY_SECONDS, known)
