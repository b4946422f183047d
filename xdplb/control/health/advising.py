# SPDX-License-Identifier: Apache-2.0
"""What becomes of what agents say: steps instead of every value, and more load only every few seconds. Pure.

An agent whose load goes up and down says another percentage each time that it is asked, and each other weight publishes
a table. So a percentage counts in steps of 5, and only if it is a whole step away from the one that counts now: with
74 % and 76 % in turn, 75 % counts. What takes load off a backend counts at once, since it may be for its life. What
gives it more waits until nothing has been changed for `CALM`; it need not be remembered, since the agent says it again.

What a line does not mention stays as it was, as in HAProxy (`agent-check` in its configuration manual).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from xdplb.control.health.probes.result import AgentWord
from xdplb.model.admin_state import AdminState
from xdplb.model.advice import PARTS, Advice

__all__ = ["CALM", "Advised", "advised"]

CALM = timedelta(seconds=10)

_STEP = 100 // PARTS
_EASE = {AdminState.READY: 0, AdminState.DRAIN: 1, AdminState.MAINT: 2}


@dataclass(frozen=True, slots=True)
class Advised:
    """The advice that counts for a backend, and since when."""

    advice: Advice
    since: datetime


def advised(before: Advised, said: AgentWord, now: datetime) -> Advised:
    """Return what counts now that this was said. It is `before` itself if that stays."""
    wanted = _wanted(before.advice, said)
    if wanted != before.advice and (_eases(wanted, before.advice) or now - before.since >= CALM):
        return Advised(wanted, now)
    return before


def _wanted(present: Advice, said: AgentWord) -> Advice:
    admin = present.admin if said.admin is None else AdminState(said.admin.value)
    if said.percent is not None:
        return Advice(_step(100 if present.percent is None else present.percent, said.percent), None, admin)
    if said.weight is not None:
        return Advice(None, _weight(present.weight, said.weight), admin)
    return Advice(present.percent, present.weight, admin)


def _step(present: int, said: int) -> int:
    """Return the percentage that counts: the one before if this one is near to it, else the nearest step."""
    if not said or not present or abs(said - present) >= _STEP:
        return _STEP * max(int(said > 0), (said + _STEP // 2) // _STEP)
    return present


def _weight(present: int | None, said: int) -> int:
    """Return the weight that counts: the one before if this one is within a step of it."""
    if present is None or not said or not present or abs(said - present) * 100 >= _STEP * min(said, present):
        return said
    return present


def _eases(wanted: Advice, present: Advice) -> bool:
    """Return whether the backend gets less to do by the one advice than by the other."""
    if wanted.admin is not present.admin:
        return _EASE[wanted.admin] > _EASE[present.admin]
    if wanted.weight is not None and present.weight is not None:
        return wanted.weight < present.weight
    if wanted.weight is None and present.weight is None:
        return wanted.parts_of(1) < present.parts_of(1)
    return False
