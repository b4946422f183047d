"""How much of something may be done in a second."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Budget"]


@dataclass(slots=True)
class Budget:
    """So many a second, and no more than a second's worth at once. `at` is when it was asked last, in seconds."""

    rate: int
    left: float
    at: float = 0.0

    def take(self, wanted: int, now: float) -> int:
        """Return how many of so many there may be now; they count as done."""
        self.left = min(self.rate, self.left + (now - self.at) * self.rate)
        self.at = now
        given = min(wanted, int(self.left))
        self.left -= given
        return given
