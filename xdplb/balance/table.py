# SPDX-License-Identifier: Apache-2.0
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

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from .fill import Places, Turns, fill, turns_least_loaded
from .hashing import TABLE_SIZE
from .pattern import NOBODY, Owners, Ownership, Pattern
from .ramp import Newcomer, Ramping, ramped

__all__ = ["WeightedBackend", "assign", "build"]

_CACHED_TABLES = 128  # 128 KiB each
_CACHED_PATTERNS = 64
_CACHED_PLACES = 32  # 128 KiB each


@dataclass(frozen=True, slots=True)
class WeightedBackend:
    """A backend of the table. Its slots depend on `key`, the same on every balancer; `id` is only what is stored."""

    key: str
    id: int
    weight: int
    in_reserve: bool = False


def assign(backends: Sequence[WeightedBackend], out: AbstractSet[int], newcomers: Sequence[Newcomer] = ()) -> Ownership:
    """Return the owner of each slot, NOBODY if no backend can be used.

    Each backend owns its weight's share of the table, exact to one slot; with weight 0 it owns none. `out` are the ids
    whose slots go to the others. Of `newcomers`, which are among the others but not all of them, each
    owns a part of its slots. The order of `backends` and their ids make no difference. Raises ValueError if two have
    the same key.
    """
    ordered = sorted([b for b in backends if b.weight > 0], key=attrgetter("key"))
    reserve = len([b for b in ordered if b.in_reserve])
    if reserve:  # they come last; hardly any VIP has some, and each flip sorts
        ordered.sort(key=attrgetter("in_reserve"))
    configured = tuple([(b.key, b.weight) for b in ordered])
    if len({key for key, _ in configured}) != len(configured):
        raise ValueError("two backends have the same key")
    missing = tuple([place for place, backend in enumerate(ordered, 1) if backend.id in out])
    ids = np.array([NOBODY, *(b.id for b in ordered)], np.uint16)
    ramping: tuple[Ramping, ...] = ()
    if newcomers:
        parts = {each.id: each for each in newcomers}
        found = ((place, parts[b.id]) for place, b in enumerate(ordered, 1) if b.id in parts)
        ramping = tuple(sorted(Ramping(each.since, place, each.granted, each.of) for place, each in found))
    return Ownership(_pattern(configured, missing, reserve, ramping), ids)


def build(backends: Sequence[WeightedBackend], out: AbstractSet[int], newcomers: Sequence[Newcomer] = ()) -> Owners:
    """Return what `assign` does as the id of the owner of each slot."""
    return assign(backends, out, newcomers).owners


@lru_cache(_CACHED_PATTERNS)
def _pattern(
    configured: tuple[tuple[str, int], ...], missing: tuple[int, ...], reserve: int, ramping: tuple[Ramping, ...]
) -> Pattern:
    """Return who owns each slot, by place in `configured`; a host that fails is missing in all VIPs that have it.

    The last `reserve` of them are in reserve.
    """
    if not ramping:
        return Pattern(_places(configured, missing, reserve), len(configured))
    came: dict[int, list[int]] = {}
    for each in sorted(ramping, key=lambda each: -each.since):
        came.setdefault(each.since, []).append(each.place)
    latest = list(came.values())

    def without(moments: int) -> Places:
        return _places(configured, tuple(sorted({*missing, *chain(*latest[:moments])})), reserve)

    return Pattern(ramped(without, ramping, len(configured)), len(configured))


@lru_cache(_CACHED_PLACES)
def _places(configured: tuple[tuple[str, int], ...], missing: tuple[int, ...], reserve: int) -> Places:
    """Return the owners' places while nobody ramps up: what a ramp goes by at each of its steps."""
    base = places = _base(configured[: len(configured) - reserve])
    first = len(configured) - reserve + 1
    in_reserve = range(first, len(configured) + 1)
    used = reserve - sum(place >= first for place in missing)
    if len(missing) > reserve - used:
        places = _refill(places, configured, {*missing, *in_reserve})
    if used:
        places = _refill(places, configured, missing, own=base)
    places.flags.writeable = False
    return places


@lru_cache(_CACHED_TABLES)
def _base(configured: tuple[tuple[str, int], ...]) -> Places:
    """Return the base table: for each slot the owner's place in `configured`, counted from 1."""
    places = np.zeros(TABLE_SIZE, np.uint16)
    if configured:
        places = _filled(places, configured, _turns(_weights(configured)))
    places.flags.writeable = False
    return places


def _quotas(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many slots each weight gets, by largest remainder; of equal remainders the first wins."""
    total = int(weights.sum())
    quotas = weights * TABLE_SIZE // total
    left = TABLE_SIZE - int(quotas.sum())
    quotas[np.argsort(-(weights * TABLE_SIZE % total), kind="stable")[:left]] += 1
    return quotas


def _turns(weights: NDArray[np.int64]) -> Turns:
    """Return the backends, as indexes, in turn: the n-th turn of each is due at n / weight; of equals the first."""
    if len(set(weights.tolist())) == 1:  # then they simply take turns, and sorting would be half of the work
        return np.resize(np.arange(len(weights), dtype=np.uint16), TABLE_SIZE)
    quotas = _quotas(weights)
    backend = np.repeat(np.arange(len(weights), dtype=np.uint16), quotas)
    nth = np.arange(1, TABLE_SIZE + 1) - np.repeat(np.cumsum(quotas) - quotas, quotas)
    return backend[np.argsort(nth / weights[backend], kind="stable")]


def _refill(
    base: Places, configured: tuple[tuple[str, int], ...], missing: Iterable[int], *, own: Places | None = None
) -> Places:
    """Give the slots of the missing backends to the others; with `own`, also what some own beyond their share.

    That is so while backends in reserve are used, which own nothing in the base table. The others keep those slots that
    they have in `own`, as far as they are of their share.
    """
    is_missing = np.zeros(len(configured) + 1, np.bool_)
    is_missing[list(missing)] = True
    places = np.where(is_missing[base], np.uint16(NOBODY), base)
    if is_missing[1:].all():
        return places
    weights = _weights(configured).copy()
    weights[is_missing[1:]] = 0
    if own is not None:
        places = _without_surplus(places, weights, own)
    return _filled(places, configured, _turns_of_refill(places, weights))


def _without_surplus(places: Places, weights: NDArray[np.int64], base: Places) -> Places:
    """Take from each backend the slots that it owns beyond its share: first those that are not its own in `base`."""
    slots = np.lexsort((places != base, places))
    owners = places[slots]
    owned = np.bincount(owners, minlength=len(weights) + 1)
    nth = np.arange(TABLE_SIZE) - np.repeat(np.cumsum(owned) - owned, owned)
    share = np.concatenate([[TABLE_SIZE], _quotas(weights)])
    left: Places = places.copy()
    left[slots[nth >= share[owners]]] = NOBODY
    return left


def _turns_of_refill(places: Places, weights: NDArray[np.int64]) -> Turns:
    """Return whose turn it is to take a free slot: the backend that lacks most slots of its share."""
    total = int(weights.sum())
    owned = np.bincount(places, minlength=len(weights) + 1)
    takers = np.flatnonzero(weights)
    # in units of 1/total of a slot
    lacks = (weights * TABLE_SIZE - owned[1:] * total)[takers]
    return turns_least_loaded(lacks, takers, total, int(owned[NOBODY]))


def _filled(places: Places, configured: tuple[tuple[str, int], ...], turns: Turns) -> Places:
    """Return `places` with every free slot filled: at each turn the backend takes the first of its permutation."""
    offsets, skips = _walks(configured)
    return fill(places, offsets, skips, turns)


@lru_cache(_CACHED_PATTERNS)
def _weights(configured: tuple[tuple[str, int], ...]) -> NDArray[np.int64]:
    """Return the weights as an array, which is not to be changed."""
    return np.array([weight for _, weight in configured], np.int64)


@lru_cache(_CACHED_PATTERNS)
def _walks(configured: tuple[tuple[str, int], ...]) -> NDArray[np.uint32]:
    """Return the permutations' offsets and skips, which are not to be changed."""
    return np.array([_permutation(key) for key, _ in configured], np.uint32).T


@lru_cache(1 << 16)
def _permutation(key: str) -> tuple[int, int]:
    """Return the order in which a backend takes slots: offset and skip of offset + n * skip modulo TABLE_SIZE."""
    digest = blake2b(key.encode(), digest_size=16).digest()
    offset = int.from_bytes(digest[:8], "little") % TABLE_SIZE
    # Never 0. TABLE_SIZE is prime, so every other skip visits all slots.
    return offset, int.from_bytes(digest[8:], "little") % (TABLE_SIZE - 1) + 1
