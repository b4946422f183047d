# SPDX-License-Identifier: Apache-2.0
"""Work in parts: what matters most is done at once, and the rest in parts that are worth their planning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["batches"]

_FIRST, _MOST = 4, 64


def batches(items: Sequence[int]) -> Iterator[frozenset[int]]:
    """Yield the items in order, first few at a time, then twice as many as before, up to 64."""
    size, start = _FIRST, 0
    while start < len(items):
        yield frozenset(items[start : start + size])
        start, size = start + size, min(2 * size, _MOST)
