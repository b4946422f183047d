"""What a backend's agent, or a command that checks it, wants beside being up or down."""

from __future__ import annotations

from dataclasses import dataclass

from .backend import WEIGHT_RANGE, AdminState

__all__ = ["PARTS", "Advice"]

PARTS = 20
"""In how many parts a weight is divided where agents may want a part of it: 5 % each."""

_LARGEST = WEIGHT_RANGE[1] * PARTS


@dataclass(frozen=True, slots=True)
class Advice:
    """A part of the configured weight in percent, a multiple of 5, or a weight in its place; None: as configured.

    `admin` is what the backend shall be used for, if the operator does not ask for less.
    """

    percent: int | None = None
    weight: int | None = None
    admin: AdminState = AdminState.READY

    def parts_of(self, configured: int) -> int:
        """Return the weight, in parts of one, of a backend with this configured weight."""
        if self.weight is not None:
            return min(self.weight * PARTS, _LARGEST)
        return min(configured * (100 if self.percent is None else self.percent) * PARTS // 100, _LARGEST)

    def __str__(self) -> str:
        """Return the advice in words, as it follows `says`."""
        words = [] if self.admin is AdminState.READY else [self.admin.value]
        if self.weight is not None:
            words.append(f"weight {self.weight}")
        elif self.percent is not None:
            words.append(f"{self.percent} %")
        return " and ".join(words) or "ready"
