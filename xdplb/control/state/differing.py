# SPDX-License-Identifier: Apache-2.0
"""Telling two versions of a mapping apart by the identity of their values, without a step of Python for each entry.

A change makes a new mapping that shares nearly all keys and values with the one before, in the same order. So both are
walked in C, and no key is hashed again: hashing an address or the key of a VIP takes longer than all else here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import compress, islice
from operator import is_, is_not
from typing import Generic, TypeVar

__all__ = ["Differing", "carried", "differing", "have_same_keys", "missing", "without"]

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Differing(Generic[K]):
    """The keys that are gone, those that are new, and those whose value is another object."""

    gone: tuple[K, ...] = ()
    new: tuple[K, ...] = ()
    changed: tuple[K, ...] = ()

    @property
    def all(self) -> tuple[K, ...]:
        """All of these keys."""
        return self.gone + self.new + self.changed

    @property
    def past(self) -> tuple[K, ...]:
        """The keys that the earlier mapping has, with a value that the later one does not have for them."""
        return self.gone + self.changed

    @property
    def present(self) -> tuple[K, ...]:
        """The keys that the later mapping has, with a value that the earlier one does not have for them."""
        return self.new + self.changed


def differing(before: Mapping[K, V], after: Mapping[K, V]) -> Differing[K]:
    """Return how `after` differs from `before`. Values that are equal but not the same object count as changed."""
    if before is after:
        return Differing()
    if have_same_keys(before, after):
        return Differing(changed=_changed(before, after))
    gone = missing(before, after)
    new = missing(after, before)
    old, young = without(before, gone), without(after, new)
    if have_same_keys(old, young):
        return Differing(gone, new, _changed(old, young))
    return Differing(gone, new, tuple([key for key, value in young.items() if old[key] is not value]))


def missing(one: Mapping[K, object], other: Mapping[K, object]) -> tuple[K, ...]:
    """Return the keys that only `one` has, in its order."""
    if all(map(is_, one, other)):  # one of them is only the beginning of the other
        return tuple(islice(one, len(other), None))
    found = set(one).difference(other)
    return tuple(found) if len(found) < 2 else tuple([key for key in one if key in found])


def carried(before: Mapping[K, V], gone: Iterable[K], given: Mapping[K, V], order: Mapping[K, object]) -> dict[K, V]:
    """Return `before` without the keys that are `gone` and with those `given`, in the order of the keys of `order`."""
    made = without(before, gone)
    made.update(given)
    return made if have_same_keys(made, order) else {key: made[key] for key in order}


def without(mapping: Mapping[K, V], gone: Iterable[K]) -> dict[K, V]:
    """Return a copy without these keys."""
    left = dict(mapping)
    for key in gone:
        del left[key]
    return left


def have_same_keys(one: Mapping[K, object], other: Mapping[K, object]) -> bool:
    """Return whether both have the same objects as keys, in the same order."""
    return len(one) == len(other) and all(map(is_, one, other))


def _changed(before: Mapping[K, V], after: Mapping[K, V]) -> tuple[K, ...]:
    return tuple(compress(after, map(is_not, before.values(), after.values())))
