# SPDX-License-Identifier: Apache-2.0
"""The tables of the schedulers that choose per connection. Their slots are an order of turns, not shares of a hash.

For rr and wrr, a new flow takes the slot after that of the flow before. For lc and wlc, it compares all candidates,
which are the owners of the first slots. Every flow is recorded, so the order may change when a backend is added or
removed. It depends on the backends' keys and weights alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from xdplb.model.errors import CapacityError

from .hashing import TABLE_SIZE
from .pattern import NOBODY, Owners
from .ramp import Newcomer, thinned
from .table import WeightedBackend

__all__ = ["MAX_CANDIDATES", "candidates", "check_candidates", "rotation"]

MAX_CANDIDATES = 128
"""How many backends the packet path compares at most for a new flow; each costs some nanoseconds."""

_CACHED_ORDERS = 32  # at most 512 KiB each


def rotation(
    configured: Sequence[WeightedBackend],
    out: AbstractSet[int],
    *,
    weighted: bool,
    newcomers: Sequence[Newcomer] = (),
) -> Owners:
    """Return the owner of each slot, in an order that is fair to a walk from slot to slot.

    Without weights, each eligible backend owns one of the first slots, and that order repeats. With weights it is the
    smooth weighted round robin of nginx: the turns of a heavy backend are spread as far apart as possible. Backends in
    `out` and those of weight 0 own no slot. If no backend is eligible, NOBODY owns all of them. Of `newcomers`, which
    are eligible, each has a part of its turns, in any long stretch of them.
    """
    eligible = _eligible(configured, out)
    if not eligible:
        return np.full(TABLE_SIZE, NOBODY, np.uint16)
    ids = np.array([backend.id for backend in eligible], np.uint16)
    weights = tuple(backend.weight if weighted else 1 for backend in eligible)
    divisor = gcd(*weights)
    turns = _smooth(tuple(weight // divisor for weight in weights))
    if parts := {each.id: each for each in newcomers}:
        found = ((n, parts[backend.id]) for n, backend in enumerate(eligible) if backend.id in parts)
        turns = thinned(np.resize(turns, TABLE_SIZE), [(n, each.granted, each.of) for n, each in found])
    owners: Owners = np.resize(ids[turns], TABLE_SIZE)
    return owners


def candidates(configured: Sequence[WeightedBackend], out: AbstractSet[int]) -> int:
    """Return how many backends are eligible: that many of the first slots have each of them as an owner once.

    Raises CapacityError if they are more than the packet path compares.
    """
    count = len(_eligible(configured, out))
    check_candidates(count)
    return count


def check_candidates(count: int) -> None:
    """Raise CapacityError if these are more backends than the packet path compares."""
    if count > MAX_CANDIDATES:
        raise CapacityError(
            f"too many backends for a scheduler that compares all their loads: {count}, the limit is {MAX_CANDIDATES}",
            hint="use p2c, which compares two at random, has no limit and balances almost as well",
        )


def _eligible(configured: Sequence[WeightedBackend], out: AbstractSet[int]) -> list[WeightedBackend]:
    chosen = [backend for backend in configured if backend.weight > 0 and backend.id not in out]
    return sorted(chosen, key=lambda backend: backend.key)


@lru_cache(_CACHED_ORDERS)
def _smooth(weights: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the backends, as indexes, in the order of their turns: one round, or its first TABLE_SIZE turns.

    A round has as many turns as the sum of the weights. At each turn each backend gains its weight; the highest is
    chosen (the first of equals) and pays the total (smooth WRR).
    """
    if max(weights) == 1:
        return np.arange(len(weights))  # equal weights: plain round robin
    total = sum(weights)
    gains, have = np.array(weights, np.int64), np.zeros(len(weights), np.int64)
    turns = np.empty(min(total, TABLE_SIZE), np.intp)
    for turn in range(len(turns)):
        have += gains
        chosen = have.argmax()
        have[chosen] -= total
        turns[turn] = chosen
    turns.flags.writeable = False
    return turns
