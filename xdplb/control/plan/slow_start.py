# SPDX-License-Identifier: Apache-2.0
"""Slow start: how far each backend is that has come up lately. Pure.

It ramps up in steps, which come at whole multiples of a step's length on the clock: so backends that come up together
are equally far, and all balancers take the same steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta

from xdplb.balance.ramp import Newcomer, parts_of

__all__ = ["NO_RAMPS", "Ramps", "newcomers", "next_step", "ramp_words", "ramps_after", "ramps_of", "tick_of"]

Ramps = Mapping[int, frozenset[int]]
"""The ids of the backends that came up lately, by the step of the clock at which they did. No set is empty."""

NO_RAMPS: Ramps = {}


def tick_of(moment: datetime, seconds: int) -> int:
    """Return the number of the step of the clock that a moment is in."""
    return int(moment.timestamp() // _length(seconds))


def ramps_of(since: Mapping[int, datetime], tick: int, seconds: int) -> Ramps:
    """Return the ramps at a step of the clock of backends, by id, of which it is known when they came up."""
    found: dict[int, set[int]] = {}
    for number, moment in since.items():
        found.setdefault(tick_of(moment, seconds), set()).add(number)
    return _still({began: frozenset(ids) for began, ids in found.items()}, tick, seconds)


def ramps_after(before: Ramps, came: AbstractSet[int], left: AbstractSet[int], tick: int, seconds: int) -> Ramps:
    """Return the ramps at a step of the clock, after some came up and others went, by id. It costs what changes."""
    ramps = before
    if came or left:
        ramps = {began: kept for began, ids in before.items() if (kept := ids - came - left)}
    if came:
        ramps = {**ramps, tick: ramps.get(tick, frozenset()) | came}
    return _still(ramps, tick, seconds)


def newcomers(ramps: Ramps, tick: int, seconds: int, *, out: AbstractSet[int], serving: int) -> tuple[Newcomer, ...]:
    """Return those that have a part of their share now, of the `serving` backends that can serve, by id.

    Those in `out` do not serve. A backend has its part in relation to the one that is farthest: if all have just come
    up, none needs to wait.
    """
    found = {began: ids for began, all_of_them in ramps.items() if (ids := all_of_them - out)}
    most = parts_of(seconds)
    if found and sum(map(len, found.values())) >= serving:
        most = tick - min(found) + 1
    return tuple(
        Newcomer(number, began, tick - began + 1, most)
        for began, ids in sorted(found.items())
        if tick - began + 1 < most
        for number in sorted(ids)
    )


def next_step(tick: int, seconds: int) -> datetime:
    """Return when the step of the clock after this one begins."""
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=(tick + 1) * _length(seconds))


def ramp_words(newcomer: Newcomer) -> str:
    """Return why a backend does not have its whole share yet."""
    return f"slow start: it has {newcomer.granted * 100 // newcomer.of} % of its share so far"


def _still(ramps: Ramps, tick: int, seconds: int) -> Ramps:
    """Return the ramps that are not over."""
    first = tick + 2 - parts_of(seconds)
    if all(began >= first for began in ramps):
        return ramps
    return {began: ids for began, ids in ramps.items() if began >= first}


def _length(seconds: int) -> float:
    """Return how long a step is, in seconds."""
    return seconds / (parts_of(seconds) - 1)
