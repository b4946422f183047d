# SPDX-License-Identifier: Apache-2.0
"""The numbers of the datagrams that came: which came before, and which are missing.

A window as IPsec has it (RFC 4303, 3.4.3): what is older than it is refused, as is what came already; within it the
order does not matter. What stays missing for a moment is lost.
"""

from __future__ import annotations

__all__ = ["WINDOW", "Window"]

WINDOW = 1024
_PATIENCE_SECONDS = 0.1
"""How long a datagram that others have overtaken may still come."""

_MASK = (1 << WINDOW) - 1


class Window:
    """The numbers that came from one sender, who counts from 1. Times are of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.highest = 0
        self._came = 1  # bit n: `highest` - n came; there is no number 0
        self._missing: dict[int, float] = {}
        self._lost = 0

    def accept(self, number: int, now: float) -> bool:
        """Note that this number came; return False if it came before, or may have: it is too old to know."""
        if number > self.highest:
            self.expect(number - 1, now)
            self._slide(number)
            self._came |= 1
            return True
        behind = self.highest - number
        if number < 1 or behind >= WINDOW or self._came >> behind & 1:
            return False
        self._came |= 1 << behind
        self._missing.pop(number, None)
        return True

    def expect(self, sent: int, now: float) -> None:
        """Note that the sender says that it has sent so many: those that have not come by now are missing."""
        ahead = sent - self.highest
        if ahead <= 0:
            return
        first = self.highest + 1
        if ahead > WINDOW:  # more than can be told apart
            self._lost += ahead - WINDOW
            first = sent - WINDOW + 1
        self._slide(sent)
        for number in range(first, sent + 1):
            self._missing[number] = now

    def lost(self, now: float) -> int:
        """Return how many are lost for good since this was asked last."""
        lost, self._lost = self._lost, 0
        while self._missing:
            number = next(iter(self._missing))  # the one that has been missing for the longest
            if self._missing[number] > now - _PATIENCE_SECONDS and self.highest - number < WINDOW:
                break
            del self._missing[number]
            lost += 1
        return lost

    def _slide(self, number: int) -> None:
        ahead = number - self.highest
        self._came = self._came << ahead & _MASK if ahead < WINDOW else 0
        self.highest = number
