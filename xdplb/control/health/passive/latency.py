# SPDX-License-Identifier: Apache-2.0
"""Latencies of handshakes in buckets, each up to twice as long as the one before."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import numpy as np
from numpy.typing import NDArray

from xdplb.dataplane.layout import HANDSHAKE_BUCKETS, HANDSHAKE_FIRST_BIT

__all__ = ["BOUNDS", "quantile"]

BOUNDS: tuple[float, ...] = tuple(2 ** (HANDSHAKE_FIRST_BIT + number) / 1e9 for number in range(HANDSHAKE_BUCKETS - 1))
"""The upper bounds of all buckets but the last, which has none, in seconds."""


def quantile(counts: Sequence[float] | NDArray[np.float64], share: float) -> float | None:
    """Return what this share of latencies stays below, in seconds, None of none.

    Within a bucket they are taken to lie evenly on a logarithmic scale.
    """
    sums = np.cumsum(counts)
    total = float(sums[-1]) if len(sums) else 0.0
    if total < 1:
        return None
    wanted = share * total
    bucket = int(np.searchsorted(sums, wanted))
    bucket = min(bucket, len(sums) - 1)
    inside = float(counts[bucket])
    before = float(sums[bucket]) - inside
    part = (wanted - before) / inside if inside else 1.0
    return float(2 ** (log2(BOUNDS[0]) + bucket - 1 + min(1.0, max(0.0, part))))
