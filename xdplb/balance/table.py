"""The table of a VIP: which backend owns each slot.

Maglev (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4), with
weights and one difference. Each backend has a permutation of all slots. The backends take turns, and at its turn each
takes the first slot of its permutation that is still free. A backend's weight decides how many turns it has; they are
spread evenly.

The difference: this *base* table is made from all configured backends, whether they can be used or not. The slots of
those that are out are then given to the others, in the order of their permutations. So when a backend fails, no slot of
another one moves, and when it is back, the base table is back, bit for bit. The result depends only on the configured
backends (keys and weights) and on which are out, so that all balancers of a cluster get the same table.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .hashing import TABLE_SIZE
from .slots import NOBODY, Owners

__all__ = ["WeightedBackend", "build"]

_FEW = 768
"""With so few free slots, it is faster to compute which comes first than to walk a permutation until one is met."""

_CACHED_TABLES = 128  # 128 KiB each


@dataclass(frozen=True, slots=True)
class WeightedBackend:
    """A backend of the table. Its slots depend on `key`, the same on every balancer; `id` is only what is stored."""

    key: str
    id: int
    weight: int


@dataclass(frozen=True, slots=True)
class _Permutation:
    """The order in which a backend takes slots: offset, offset + skip, offset + 2 skip, … modulo TABLE_SIZE."""

    offset: int
    skip: int
    inverse: int  # of skip, modulo TABLE_SIZE: it converts a slot to its place in the order


def build(backends: Sequence[WeightedBackend], out: AbstractSet[int]) -> Owners:
    """Return the id of the owner of each slot, NOBODY if no backend can be used.

    Each backend owns its weight's share of the table, exact to one slot; with weight 0 it owns none. `out` are the ids
    whose slots go to the others. The order of `backends` and their ids make no difference. Raises ValueError if two
    have the same key.
    """
    ordered = sorted((b for b in backends if b.weight > 0), key=lambda b: b.key)
    configured = tuple((b.key, b.weight) for b in ordered)
    if len({key for key, _ in configured}) != len(configured):
        raise ValueError("two backends have the same key")
    ids = np.array([NOBODY, *(b.id for b in ordered)], np.uint16)
    missing = [place for place, backend in enumerate(ordered, 1) if backend.id in out]
    places = _base(configured)
    if missing:
        places = _refill(places, configured, missing)
    owners: Owners = ids[places]
    return owners


@lru_cache(_CACHED_TABLES)
def _base(configured: tuple[tuple[str, int], ...]) -> NDArray[np.uint16]:
    """Return the base table: for each slot the owner's place in `configured`, counted from 1."""
    places = np.zeros(TABLE_SIZE, np.uint16)
    if configured:
        places = _fill(places, configured, _turns(np.array([weight for _, weight in configured], np.int64)))
    places.flags.writeable = False
    return places


def _quotas(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many slots each weight gets, by largest remainder; of equal remainders the first wins."""
    total = int(weights.sum())
    quotas = weights * TABLE_SIZE // total
    left = TABLE_SIZE - int(quotas.sum())
    quotas[np.argsort(-(weights * TABLE_SIZE % total), kind="stable")[:left]] += 1
    return quotas


def _turns(weights: NDArray[np.int64]) -> list[int]:
    """Return the backends, as indexes, in turn: the n-th turn of each is due at n / weight; of equals the first."""
    if len(set(weights.tolist())) == 1:  # then they simply take turns, and sorting would be half of the work
        rounds, rest = divmod(TABLE_SIZE, len(weights))
        return [*range(len(weights))] * rounds + [*range(rest)]
    quotas = _quotas(weights)
    backend = np.repeat(np.arange(len(weights)), quotas)
    nth = np.arange(1, TABLE_SIZE + 1) - np.repeat(np.cumsum(quotas) - quotas, quotas)
    order: list[int] = backend[np.argsort(nth / weights[backend], kind="stable")].tolist()
    return order


def _refill(
    base: NDArray[np.uint16], configured: tuple[tuple[str, int], ...], missing: Sequence[int]
) -> NDArray[np.uint16]:
    """Give the slots of the missing backends to the others."""
    is_missing = np.zeros(len(configured) + 1, np.bool_)
    is_missing[missing] = True
    places = np.where(is_missing[base], np.uint16(NOBODY), base)
    if len(missing) == len(configured):
        return places
    weights = np.array([weight for _, weight in configured], np.int64)
    weights[is_missing[1:]] = 0
    return _fill(places, configured, _turns_least_loaded(places, weights))


def _turns_least_loaded(places: NDArray[np.uint16], weights: NDArray[np.int64]) -> Iterator[int]:
    """Yield the backend whose turn it is: the one that lacks most slots of its share; of equals the first."""
    total = int(weights.sum())
    owned = np.bincount(places, minlength=len(weights) + 1)[1:]
    lacks = (
        weights * TABLE_SIZE - owned * total
    ).tolist()  # in units of 1/total of a slot, so that they are exact integers
    heap = [(-lack, backend) for backend, lack in enumerate(lacks) if weights[backend]]
    heapq.heapify(heap)
    while True:
        surplus, backend = heap[0]  # what it owns beyond its share, in the same units; negative if it lacks some
        heapq.heapreplace(heap, (surplus + total, backend))
        yield backend


def _fill(
    places: NDArray[np.uint16], configured: tuple[tuple[str, int], ...], turns: Iterable[int]
) -> NDArray[np.uint16]:
    """Return `places` with every free slot filled: at each turn the backend takes the first of its permutation."""
    free = int(np.count_nonzero(places == NOBODY))
    permutations = [_permutation(key) for key, _ in configured]
    remaining = iter(turns)
    if free > _FEW:
        places = _walk(places, permutations, islice(remaining, free - _FEW))
    return _pick(places, permutations, remaining)


def _walk(places: NDArray[np.uint16], permutations: Sequence[_Permutation], turns: Iterable[int]) -> NDArray[np.uint16]:
    """Fill slots turn by turn: the backend walks on in its permutation to the next free slot."""
    # Most steps find a taken slot: what is taken is in 64 KiB, which stay in the processor's cache. Lists and bytes are
    # several times faster to index than arrays.
    taken, table = bytearray((places != NOBODY).astype(np.uint8)), places.tolist()
    cursors = [permutation.offset for permutation in permutations]
    skips = [permutation.skip for permutation in permutations]
    for backend in turns:
        slot, skip = cursors[backend], skips[backend]
        while taken[slot]:
            slot += skip
            if slot >= TABLE_SIZE:
                slot -= TABLE_SIZE
        taken[slot], table[slot] = 1, backend + 1
        cursors[backend] = slot
    return np.array(table, np.uint16)


def _pick(places: NDArray[np.uint16], permutations: Sequence[_Permutation], turns: Iterator[int]) -> NDArray[np.uint16]:
    """Do the same, but compute for each free slot its place in the backend's permutation, and take the lowest."""
    filled = places.copy()
    free = np.flatnonzero(places == NOBODY)
    while len(free):
        backend = next(turns)
        wanted = permutations[backend]
        first = int(np.argmin((free - wanted.offset) * wanted.inverse % TABLE_SIZE))
        filled[free[first]] = backend + 1
        free[first] = free[-1]
        free = free[:-1]
    return filled


@lru_cache(1 << 16)
def _permutation(key: str) -> _Permutation:
    digest = blake2b(key.encode(), digest_size=16).digest()
    offset = int.from_bytes(digest[:8], "little") % TABLE_SIZE
    # Never 0. TABLE_SIZE is prime, so every other skip visits all slots and has an inverse.
    skip = int.from_bytes(digest[8:], "little") % (TABLE_SIZE - 1) + 1
    return _Permutation(offset, skip, pow(skip, -1, TABLE_SIZE))
