# SPDX-License-Identifier: Apache-2.0
"""Readings of counters at some times of the past, to tell how much was counted since then."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["Column", "Readings", "column"]

_LEAST_SECONDS = 30.0

_MOST_SECONDS = 7200.0
"""Of more than that, only what was counted in all is told: a reading of 20,000 backends takes 160 kB."""

Column = NDArray[np.uint64]
"""Counts by id."""


class Readings:
    """Counts by id at times of the past: the older, the fewer, so that some tell of two hours.

    A count that went down began anew. All attributes are replaced as a whole, so other threads may read them.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[float, Column], ...] = ()

    def note(self, counts: Mapping[int, int], at: float) -> None:
        """Take in a reading at `at`, in seconds."""
        kept = self._kept
        if kept and at - kept[-1][0] < _LEAST_SECONDS:
            return
        present = column(counts)
        for _, known in kept:  # a smaller count than before is that of another owner of the id
            both = min(len(known), len(present))
            known[:both][known[:both] > present[:both]] = 0
        self._kept = _thinned((*kept, (at, present)), at)

    def forget(self, ids: Collection[int]) -> None:
        """Forget what was counted under these ids, which have other owners now."""
        numbers = np.fromiter(ids, np.intp, len(ids))
        for _, known in self._kept:
            known[numbers[numbers < len(known)]] = 0

    def latest(self, number: int) -> int:
        """Return the last count of an id."""
        known = self._kept[-1][1] if self._kept else ()
        return int(known[number]) if number < len(known) else 0

    def since(self, number: int, count: int, seconds: float, now: float) -> int:
        """Return how many of the `count` of an id came in the last `seconds`, or in more for want of a reading."""
        for at, known in reversed(self._kept):
            if now - at >= seconds:
                before = int(known[number]) if number < len(known) else 0
                return count - before if before <= count else count
        return count


def column(counts: Mapping[int, int]) -> Column:
    """Return these counts by id as a column, 0 where there is none."""
    made = np.zeros(max(counts, default=-1) + 1, np.uint64)
    if counts:
        made[np.fromiter(counts.keys(), np.intp, len(counts))] = np.fromiter(counts.values(), np.uint64, len(counts))
    return made


def _thinned(kept: tuple[tuple[float, Column], ...], now: float) -> tuple[tuple[float, Column], ...]:
    """Return the readings without those that are too old, or whose neighbours are close together for their age."""
    oldest = max((index for index, (at, _) in enumerate(kept) if now - at >= _MOST_SECONDS), default=0)
    kept = kept[oldest:]
    left = [kept[0]]
    for index in range(1, len(kept) - 1):
        after = kept[index + 1][0]
        if after - left[-1][0] > (now - after) / 2:
            left.append(kept[index])
    return (*left, *kept[1:][-1:])
