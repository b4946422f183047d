# SPDX-License-Identifier: Apache-2.0
"""How long something took, counted in buckets as Prometheus' histograms are."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

__all__ = ["BOUNDS", "Durations", "Taken"]

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of all buckets but the last, which has none, in seconds: an answer of a host of the same network
takes tenths of a millisecond, and the longest timeouts of checks are some seconds."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was counted so far: how many in each bucket, and the sum of all in seconds."""

    counts: tuple[int, ...]
    sum: float


class Durations:
    """Counts durations. One thread notes them; any may read them."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts, self._sum = [0] * (len(BOUNDS) + 1), 0.0

    def note(self, seconds: float) -> None:
        """Count one more."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    @property
    def taken(self) -> Taken:
        """What was counted so far."""
        return Taken(tuple(self._counts), self._sum)
