# SPDX-License-Identifier: Apache-2.0
"""What a backend's agent, or a command that checks it, wants beside being up or down."""

from __future__ import annotations

from dataclasses import dataclass

from .admin_state import AdminState

__all__ = ["PARTS", "WEIGHT_RANGE", "Advice"]

WEIGHT_RANGE = (0, 65535)

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

    @property
    def takes_nothing_new(self) -> bool:
        """Whether the backend is to get no new connections."""
        return self.admin is not AdminState.READY or self.weight == 0 or self.percent == 0

    def __str__(self) -> str:
        """Return what says it, and what, as a sentence."""
        words = [] if self.admin is AdminState.READY else [self.admin.value]
        if self.weight is not None:
            words.append(f"weight {self.weight}")
        elif self.percent is not None:
            words.append(f"{self.percent} %")
        return f"its {'agent' if self.weight is None else 'check'} says {' and '.join(words) or 'ready'}"
