"""The tables of schedulers that choose per connection: no shares of a hash, but the order in which backends take turns.

A new flow takes the slot after the last one's (rr, wrr), or looks at all candidates, which the first slots name (lc,
wlc). Every flow is recorded, so that the order may change with every backend that comes or goes. It depends on the
backends' keys and weights alone.
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
from .slots import NOBODY, Owners
from .table import WeightedBackend

__all__ = ["MAX_CANDIDATES", "candidates", "rotation"]

MAX_CANDIDATES = 128
"""As many backends as the packet path compares for one new flow: they cost some nanoseconds each."""

_CACHED_ORDERS = 32  # at most 512 KiB each


def rotation(configured: Sequence[WeightedBackend], out: AbstractSet[int], *, weighted: bool) -> Owners:
    """Return the owner of each slot, NOBODY where no backend may be chosen, such that a walk from slot to slot is fair.

    Without weights the first slots name each backend that may be chosen once, and so on round. With them it is the
    smooth weighted round robin of nginx: a heavy backend's turns lie as far apart as they can. Backends in `out` and
    those of weight 0 have none.
    """
    eligible = _eligible(configured, out)
    if not eligible:
        return np.full(TABLE_SIZE, NOBODY, np.uint16)
    ids = np.array([backend.id for backend in eligible], np.uint16)
    weights = tuple(backend.weight if weighted else 1 for backend in eligible)
    divisor = gcd(*weights)
    owners: Owners = np.resize(ids[_smooth(tuple(weight // divisor for weight in weights))], TABLE_SIZE)
    return owners


def candidates(configured: Sequence[WeightedBackend], out: AbstractSet[int]) -> int:
    """Return how many backends may be chosen: as many slots, from the first, name each of them once.

    CapacityError where they are more than the packet path compares.
    """
    count = len(_eligible(configured, out))
    if count > MAX_CANDIDATES:
        raise CapacityError(
            f"a scheduler that compares the load of all backends can have {MAX_CANDIDATES} of them, these are {count}",
            hint="choose p2c, which compares two at random and comes close with any number",
        )
    return count


def _eligible(configured: Sequence[WeightedBackend], out: AbstractSet[int]) -> list[WeightedBackend]:
    chosen = [backend for backend in configured if backend.weight > 0 and backend.id not in out]
    return sorted(chosen, key=lambda backend: backend.key)


@lru_cache(_CACHED_ORDERS)
def _smooth(weights: tuple[int, ...]) -> NDArray[np.intp]:
    """Return whose turn it is, for one round: as many turns as all weights together, of a longer one TABLE_SIZE.

    At each turn everybody gains his weight, and who has most pays what all have gained. Of equals the first.
    """
    if max(weights) == 1:
        return np.arange(len(weights))
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
