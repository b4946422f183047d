# SPDX-License-Identifier: Apache-2.0
"""How much of something may be done in a second."""

from __future__ import annotations

__all__ = ["Budget"]


class Budget:
    """`rate` a second, and no more than `burst` at once, a second's worth if that is not given. It begins full."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: int, burst: int | None = None) -> None:
        self._rate, self._burst = rate, rate if burst is None else burst
        self._left, self._at = float(self._burst), 0.0

    def take(self, wanted: int, now: float) -> int:
        """Return how many of so many there may be now, at `now` in seconds; they count as done."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        given = min(wanted, int(self._left))
        self._left -= given
        return given
