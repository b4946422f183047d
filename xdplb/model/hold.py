# SPDX-License-Identifier: Apache-2.0
"""That a backend is held down although its checks pass, since it flaps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Hold"]

_UNITS = ((3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Hold:
    """It takes no new connections until `until`, since it has gone down `falls` times in `seconds` seconds."""

    until: datetime
    falls: int
    seconds: float

    @property
    def why(self) -> str:
        """What it has done, as a part of a sentence."""
        return f"it went down {self.falls} times in {_span(self.seconds)}"

    def left(self, now: datetime) -> float:
        """Return for how many seconds more it is held."""
        return max(0.0, (self.until - now).total_seconds())


def _span(seconds: float) -> str:
    """Return a duration in its largest unit that fits twice."""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1, "s"))
    return f"{seconds / size:.0f} {unit}"
