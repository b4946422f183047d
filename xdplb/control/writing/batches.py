"""Work in parts: what matters most is done at once, and no part keeps others waiting for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

__all__ = ["batches"]

_FIRST = 4


def batches(
    items: Sequence[int], seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[frozenset[int]]:
    """Yield the items in order, as many at a time as are expected to take `seconds` until the next ones are asked for.

    The first are few. Then it is known how long they take; a part has at most twice as many as the one before.
    """
    size, start = _FIRST, 0
    while start < len(items):
        part = items[start : start + size]
        began = clock()
        yield frozenset(part)
        start += len(part)
        took = max(clock() - began, 1e-6)
        size = max(1, min(2 * size, int(len(part) * seconds / took)))
