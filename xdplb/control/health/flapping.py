# SPDX-License-Identifier: Apache-2.0
"""Flap damping: a backend that goes down again and again is held down longer than its checks say. Pure.

The rule is BGP's route flap damping (RFC 2439, sections 4.2 and 4.4): each time that a backend goes down adds 1 to its
penalty, which halves every `HALF_LIFE`. Once it exceeds `CUT_OFF`, the backend is held down until the penalty has come
down to `REUSE`. So who goes on flapping is held longer, and who stops is not, but for `MOST` at most.

The figures: routers took a cut-off of 2 to 3 and a half-life of 15 minutes, which held down what was merely unlucky, so
that RFC 7196 raised the cut-off to 6. What checks find every second or two is out of date sooner: a half-life of a
minute, with a cut-off of 4. A backend that is restarted three times in a row is never held. One that fails every 10
seconds is, from the fifth time on, for a minute and then for two; one that fails every minute never is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from xdplb.model.hold import Hold

__all__ = ["CUT_OFF", "HALF_LIFE", "MOST", "REUSE", "Flapping", "fallen"]

HALF_LIFE = timedelta(minutes=1)
CUT_OFF = 4.0
REUSE = 2.0
MOST = timedelta(minutes=5)

_CEILING = REUSE * 2 ** (MOST / HALF_LIFE)
"""The largest penalty: it has come down to `REUSE` after `MOST` (RFC 2439, section 4.2)."""
_FORGOTTEN = 0.25
"""A penalty below this is of the past: what comes then begins anew."""


@dataclass(frozen=True, slots=True)
class Flapping:
    """A backend that went down: its penalty at the moment `at`, and how often it has gone down since `began`."""

    penalty: float
    at: datetime
    falls: int
    began: datetime
    hold: Hold | None = None
    """Until when it is held, None if it has not gone down often enough. It may be over."""


def fallen(before: Flapping | None, now: datetime) -> Flapping:
    """Return how it stands with a backend that goes down now."""
    past = 0.0 if before is None else before.penalty * 0.5 ** ((now - before.at) / HALF_LIFE)
    if before is None or past < _FORGOTTEN:
        return Flapping(1.0, now, 1, now)
    penalty, falls = min(past + 1, _CEILING), before.falls + 1
    is_held = before.hold is not None and before.hold.until > now
    hold = before.hold
    if penalty > CUT_OFF or is_held:
        until = now + HALF_LIFE * math.log2(penalty / REUSE)
        hold = Hold(until, falls, (now - before.began).total_seconds())
    return Flapping(penalty, now, falls, before.began, hold)
