"""The clock that the program reads."""

from __future__ import annotations

import time

__all__ = ["now"]

COARSE_MONOTONIC = 6
"""CLOCK_MONOTONIC_COARSE, which bpf_ktime_get_coarse_ns reads too."""


def now() -> int:
    """Return what the program's clock says, in ns."""
    return time.clock_gettime_ns(COARSE_MONOTONIC)
