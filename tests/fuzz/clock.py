# SPDX-License-Identifier: Apache-2.0
"""The clock that the program reads."""

from __future__ import annotations

import time
from collections.abc import Iterator

__all__ = ["between", "now"]

COARSE_MONOTONIC = 6
"""CLOCK_MONOTONIC_COARSE, which bpf_ktime_get_coarse_ns reads too."""


def now() -> int:
    """Return what the program's clock says, in ns."""
    return time.clock_gettime_ns(COARSE_MONOTONIC)


def between(before: int, after: int) -> Iterator[int]:
    """Yield what the clock said from `before` to `after`, as far as its ticks are even: both, and a value a tick."""
    yield before
    yield after
    yield from range(before + _TICK, after, _TICK)


_TICK = round(time.clock_getres(COARSE_MONOTONIC) * 1e9)
