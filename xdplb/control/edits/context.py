"""What an edit must know besides the state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xdplb.dataplane.plane import Capacity

__all__ = ["Context"]


@dataclass(frozen=True, slots=True)
class Context:
    """How much the maps hold, and what time it is (UTC)."""

    capacity: Capacity
    now: datetime
