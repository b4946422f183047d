# SPDX-License-Identifier: Apache-2.0
"""How long changes may wait for the network, all together."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Patience"]

_MOST_SECONDS = 0.25
_SAVED_SECONDS = 0.5
_SHARE_OF_TIME = 0.05


class Patience:
    """A budget: one change may wait for a quarter of a second, and hundreds in a row hardly at all.

    A new backend usually answers within a millisecond, so that it can be used at once. If hundreds of them do not
    answer, waiting for each would take minutes, and the first ones have told it all.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._saved, self._at = _SAVED_SECONDS, clock()

    def left(self) -> float:
        """Return how long the next change may wait, in seconds."""
        now = self._clock()
        self._saved = min(_SAVED_SECONDS, self._saved + (now - self._at) * _SHARE_OF_TIME)
        self._at = now
        return min(_MOST_SECONDS, self._saved)

    def spend(self, seconds: float) -> None:
        """Note that a change has waited so long."""
        self._saved = max(0.0, self._saved - seconds)
