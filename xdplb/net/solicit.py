# SPDX-License-Identifier: Apache-2.0
"""When to have the kernel solicit a neighbour, that is, ask for its MAC by ARP or neighbour discovery. Pure.

XDP sends frames without using the kernel's neighbour table. So the kernel sees no traffic to a backend, and nothing but
these solicitations keeps its entry fresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .resolve import NeighbourKey
from .rtmessages import Neighbour, NeighbourState

__all__ = ["SolicitSchedule"]

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
"""States in which the MAC is confirmed, or the kernel is about to confirm it by itself."""


@dataclass(slots=True)
class _Plan:
    """When to check the neighbour next, and how long to wait after that; `known`: the kernel had a MAC last time."""

    due: float
    pause: float
    known: bool


class SolicitSchedule:
    """Unknown MACs are solicited at once and then with growing pauses, stale ones at a fixed pace. Times in seconds."""

    def __init__(self) -> None:
        self._plans: dict[NeighbourKey, _Plan] = {}

    def due(
        self, now: float, needed: Iterable[NeighbourKey], neighbours: Mapping[NeighbourKey, Neighbour]
    ) -> tuple[list[NeighbourKey], float]:
        """Return the neighbours to solicit now, and the time (as `now`) to call again unless something happens."""
        solicited: list[NeighbourKey] = []
        plans: dict[NeighbourKey, _Plan] = {}
        for key in needed:
            neighbour = neighbours.get(key)
            state = NeighbourState.NONE if neighbour is None else neighbour.state
            plan = plans[key] = self._plan(now, key, known=bool(state & (_SURE | NeighbourState.STALE)))
            if plan.due <= now:
                if not state & _SURE:
                    solicited.append(key)
                plan.due = now + plan.pause
                if not plan.known:
                    plan.pause = min(plan.pause * 2, _LONGEST_RETRY_SECONDS)
        self._plans = plans  # neighbours that are no longer needed are forgotten
        return solicited, min((plan.due for plan in plans.values()), default=now + _REFRESH_SECONDS)

    def _plan(self, now: float, key: NeighbourKey, *, known: bool) -> _Plan:
        """Return the plan so far, or a new one if the neighbour is new, was just found or was just lost."""
        plan = self._plans.get(key)
        if plan is not None and plan.known == known:
            return plan
        if known:
            # The answer to our own solicitation needs no refresh yet. A MAC known from the start may be old.
            return _Plan(now if plan is None else now + _REFRESH_SECONDS, _REFRESH_SECONDS, known)
        return _Plan(now, _FIRST_RETRY_SECONDS, known)
