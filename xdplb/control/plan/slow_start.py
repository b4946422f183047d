"""Slow start: how far each backend is that has come up lately. Pure.

It ramps up in steps, which come at whole multiples of a step's length on the clock: so backends that come up together
are equally far, and all balancers take the same steps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from xdplb.balance.ramp import Newcomer, parts_of, relative

__all__ = ["newcomers", "next_step", "ramp_words", "still_ramping", "tick_of"]


def tick_of(moment: datetime, seconds: int) -> int:
    """Return the number of the step of the clock that a moment is in."""
    return int(moment.timestamp() // _length(seconds))


def still_ramping(ramps: Mapping[int, int], tick: int, seconds: int) -> dict[int, int]:
    """Return those backends, by id with the step of the clock at which they came up, that do not have all yet."""
    parts = parts_of(seconds)
    return {number: since for number, since in ramps.items() if tick - since + 1 < parts}


def newcomers(
    ramps: Mapping[int, int], tick: int, seconds: int, *, out: Collection[int], serving: int
) -> tuple[Newcomer, ...]:
    """Return those of the `serving` backends, which are not `out`, that have a part of their share now, by id.

    A backend has it in relation to the one that is farthest: if all have just come up, none needs to wait.
    """
    parts = parts_of(seconds)
    found = sorted((number, since) for number, since in ramps.items() if number not in out)
    return relative((Newcomer(number, since, tick - since + 1, parts) for number, since in found), serving)


def next_step(tick: int, seconds: int) -> datetime:
    """Return when the step of the clock after this one begins."""
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=(tick + 1) * _length(seconds))


def ramp_words(newcomer: Newcomer) -> str:
    """Return why a backend does not have its whole share yet."""
    return f"slow start: it has {newcomer.granted * 100 // newcomer.of} % of its share so far"


def _length(seconds: int) -> float:
    """Return how long a step is, in seconds."""
    return seconds / (parts_of(seconds) - 1)
