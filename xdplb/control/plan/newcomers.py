# SPDX-License-Identifier: Apache-2.0
"""Which backends of a VIP ramp up (slow start), as its draft has it: who came up since the draft before. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from xdplb.balance.ramp import Newcomer
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.eligibility import Eligibility, Observed, Use
from xdplb.control.plan.policies import Rule, Traits
from xdplb.control.plan.slow_start import (
    NO_RAMPS,
    Ramps,
    newcomers,
    next_step,
    ramp_words,
    ramps_after,
    ramps_of,
    tick_of,
)
from xdplb.control.state.snapshot import BoundVip
from xdplb.model.backend import Health

__all__ = [
    "at_another_step",
    "newcomers_of",
    "next_step_of",
    "of_table",
    "ramps_at_start",
    "ramps_now",
    "tell_of",
]


def ramps_now(
    vip: BoundVip,
    eligibility: Mapping[int, Eligibility],
    observed: Observed,
    before: VipDraft,
    gone: AbstractSet[int],
) -> Ramps:
    """Return who came up lately, if these eligibilities are those of all that may not be as before.

    One comes up when it can serve and could not in the draft before, or is new.
    """
    seconds = vip.vip.slow_start_seconds
    if not seconds or observed.now is None:
        return NO_RAMPS
    can = {number for number, standing in eligibility.items() if standing.traits & Traits.SERVES}
    came = {number for number in can if not _could_serve(vip, number, before)}
    ramps = before.ramps if before.vip.vip.slow_start_seconds == seconds else NO_RAMPS
    return ramps_after(ramps, came, (eligibility.keys() - can) | gone, tick_of(observed.now, seconds), seconds)


def _could_serve(vip: BoundVip, number: int, before: VipDraft) -> bool:
    """Return whether the backend with this id could serve in the draft before, or served though it failed."""
    known = before.backends.get(number)
    if known is None:
        return False
    was = before.eligibility[number]
    if was.use is not Use.SERVING and not was.traits & Traits.SERVES:
        return False
    now = vip.backends.get(known.bound.backend.address)  # the id may be another one's now
    return now is not None and (now.id, now.epoch) == (number, known.bound.epoch)


def ramps_at_start(vip: BoundVip, eligibility: Mapping[int, Eligibility], observed: Observed) -> Ramps:
    """Return who came up lately if it is not known who served before, as when a daemon starts.

    Those that were found up lately go on. One that came up otherwise, as after a drain, is taken to have its share.
    """
    seconds = vip.vip.slow_start_seconds
    if not seconds or observed.now is None:
        return NO_RAMPS
    up = {
        number: known.since
        for number, standing in eligibility.items()
        if standing.traits & Traits.SERVES and (known := observed.health[number]).health is Health.UP
    }
    return ramps_of(up, tick_of(observed.now, seconds), seconds)


def newcomers_of(
    vip: BoundVip, ramps: Ramps, observed: Observed, out: AbstractSet[int], rule: Rule
) -> Mapping[int, Newcomer]:
    """Return how far those are that have a part of their share now, by id.

    Whoever serves in spite of a failure does not count: no healthy backend is held back for it.
    """
    seconds = vip.vip.slow_start_seconds
    if not ramps or observed.now is None:
        return {}
    found = newcomers(ramps, tick_of(observed.now, seconds), seconds, out=out, serving=rule.can_serve)
    return {newcomer.id: newcomer for newcomer in found}


def at_another_step(before: Mapping[int, Newcomer], now: Mapping[int, Newcomer]) -> set[int]:
    """Return the ids of those that have another part of their share now than before."""
    return {number for number in before.keys() | now.keys() if before.get(number) != now.get(number)}


def tell_of(coming: Mapping[int, Newcomer], eligibility: dict[int, Eligibility]) -> None:
    """Let the reasons of newcomers say how far they are."""
    for number, newcomer in coming.items():
        if (standing := eligibility.get(number)) is not None:
            reason = "; ".join(filter(None, (ramp_words(newcomer), standing.reason)))
            eligibility[number] = replace(standing, reason=reason)


def of_table(vip: BoundVip, coming: Mapping[int, Newcomer]) -> tuple[Newcomer, ...]:
    """Return those that have a part of their slots. A scheduler that compares loads goes by their weights instead."""
    return () if vip.vip.scheduler.is_by_load else tuple(coming.values())


def next_step_of(vip: BoundVip, coming: Mapping[int, Newcomer], observed: Observed) -> datetime | None:
    """Return when the parts change that backends have of their shares, None if all have the whole."""
    if not coming or observed.now is None:
        return None
    seconds = vip.vip.slow_start_seconds
    return next_step(tick_of(observed.now, seconds), seconds)
