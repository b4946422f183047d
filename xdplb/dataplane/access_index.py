# SPDX-License-Identifier: Apache-2.0
"""Builds the access lists as the packet path searches them: struct access4 and access6 of bpf/lib/layout.h.

Each list cuts the address space into pieces that it denies or not. All lists together are one cut, in which each
interval has a *class*: which lists deny it. A list is built by painting its prefixes over the pieces between their
ends, shorter ones first; the lists are joined by noting where each changes and adding up from address 0.

An address is a column of one number (IPv4) or two (IPv6, the upper half first), so that arrays of addresses have shape
(1, n) or (2, n), of uint64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress, IPNetwork

from . import layout
from .capacity import check_access_lists, too_many

__all__ = ["build4", "build6", "is_denied", "lists_in"]

Addresses = NDArray[np.uint64]
Masks = NDArray[np.uint64]
"""Shape (n, ACCESS_LISTS / 64): for each interval or class, a bit for each list that denies it."""

_LOWER = (1 << 64) - 1
_BLOCK_BITS = layout.ACCESS6_BLOCKS.bit_length() - 1
_MIXERS = np.random.default_rng(0).integers(0, 1 << 64, layout.ACCESS_LISTS // 64, np.uint64) | np.uint64(1)
_HINT = "join neighbouring prefixes into shorter ones, or omit prefixes that a shorter one covers"


@dataclass(frozen=True, slots=True)
class _Intervals:
    """Where each interval begins, the first at address 0, and which lists deny it."""

    starts: Addresses
    masks: Masks


def build4(lists: Mapping[int, AccessList]) -> NDArray[np.void]:
    """Return struct access4, shape (1,), for the lists by number, 0 to ACCESS_LISTS - 1.

    CapacityError if there are more lists, intervals or classes than it holds.
    """
    intervals = _join(lists, version=4)
    starts, count = intervals.starts[0], len(intervals.masks)
    index = _fill(intervals, layout.ACCESS4, layout.ACCESS4_INTERVALS)
    index["starts"][0, :count] = starts
    blocks = np.arange(1 << 16, dtype=np.uint64) << np.uint64(16)
    index["root"][0, :-1] = np.searchsorted(starts, blocks, "right") - 1
    index["root"][0, -1] = count - 1
    return index


def build6(lists: Mapping[int, AccessList]) -> NDArray[np.void]:
    """Return struct access6, as `build4` does for IPv4."""
    intervals = _join(lists, version=6)
    count = len(intervals.masks)
    index = _fill(intervals, layout.ACCESS6, layout.ACCESS6_INTERVALS)
    upper, lower = intervals.starts
    index["starts"]["high"][0, :count], index["starts"]["low"][0, :count] = upper, lower
    if count > 1:
        index["base"] = upper[1]
        index["shift"] = max(int(upper[-1] - upper[1]).bit_length() - _BLOCK_BITS, 0)
    index["root"][0, 1:-1] = _holding(intervals.starts, *_block_starts(int(index["base"][0]), int(index["shift"][0])))
    index["root"][0, -1] = count - 1
    return index


def is_denied(index: NDArray[np.void], address: IPAddress, number: int) -> bool:
    """Return whether list `number` denies the address: what the packet path finds, by a search of its own."""
    value = int(address)
    if address.version == 4:
        low, high = (int(index["root"][0, (value >> 16) + step]) for step in (0, 1))
        interval = low + int(np.searchsorted(index["starts"][0, low : high + 1], value, "right")) - 1
    else:
        interval = _search6(index, value >> 64, value & _LOWER)
    denied = index["masks"]["denied"][0, index["classes"][0, interval], number // 64]
    return bool(int(denied) >> number % 64 & 1)


def lists_in(index: NDArray[np.void], version: int, numbers: Iterable[int]) -> dict[int, AccessList]:
    """Return, by number, lists that accept the same sources as those that the index of IPv`version` was built from.

    A list that denies address 0 has only prefixes to allow, another one only prefixes to deny.
    """
    count = int(index["root"][0, -1]) + 1
    starts = index["starts"][0, :count]
    firsts = starts.tolist() if version == 4 else [high << 64 | low for high, low in starts.tolist()]
    denied = index["masks"]["denied"][0][index["classes"][0, :count]]
    return {number: _list_of(firsts, _bits(denied, number), version) for number in numbers}


def _bits(masks: Masks, number: int) -> NDArray[np.bool_]:
    return (masks[:, number // 64] >> np.uint64(number % 64) & np.uint64(1)).astype(np.bool_)


def _list_of(firsts: list[int], denied: NDArray[np.bool_], version: int) -> AccessList:
    """Return the list that denies these of the intervals which begin at `firsts`."""
    allows = bool(denied[0]) and not denied.all()  # without a prefix to allow it would accept all
    prefixes = _prefixes(firsts, ~denied if allows else denied, version)
    return AccessList(allow=prefixes) if allows else AccessList(deny=prefixes)


def _prefixes(firsts: list[int], chosen: NDArray[np.bool_], version: int) -> Iterator[IPNetwork]:
    """Yield the prefixes that make up the chosen intervals."""
    edges = np.flatnonzero(np.diff(chosen.astype(np.int8), prepend=0, append=0)).tolist()
    ends = [*firsts, 1 << (32 if version == 4 else 128)]
    ranges = ((ends[begin], ends[end] - 1) for begin, end in zip(edges[::2], edges[1::2], strict=True))
    if version == 4:
        return chain.from_iterable(summarize_address_range(IPv4Address(a), IPv4Address(b)) for a, b in ranges)
    return chain.from_iterable(summarize_address_range(IPv6Address(a), IPv6Address(b)) for a, b in ranges)


def _block_starts(base: int, shift: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the upper half of the address where each block of IPv6 begins, and whether it is in the address space."""
    steps = np.arange(layout.ACCESS6_BLOCKS, dtype=np.uint64) << np.uint64(shift)
    upper = np.uint64(base) + steps
    return upper, upper >= np.uint64(base)


def _holding(starts: Addresses, upper: NDArray[np.uint64], exists: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the interval that holds each of these addresses, whose lower half is 0; the last one for no address."""
    found = np.searchsorted(starts[0], upper, "right") - 1
    # Several intervals may begin with the same upper half: all but the first of them behind the address.
    first = np.searchsorted(starts[0], upper, "left")
    begins = (first <= found) & (starts[1][np.minimum(first, len(starts[1]) - 1)] == 0)
    holding = np.where(first <= found, np.where(begins, first, first - 1), found)
    return np.where(exists, holding, starts.shape[1] - 1)


def _search6(index: NDArray[np.void], upper: int, lower: int) -> int:
    base, shift = int(index["base"][0]), int(index["shift"][0])
    block = 0 if upper < base else min((upper - base) >> shift, layout.ACCESS6_BLOCKS - 1) + 1
    low, high = (int(index["root"][0, block + step]) for step in (0, 1))
    starts = index["starts"][0, low : high + 1]
    first, behind = (int(np.searchsorted(starts["high"], np.uint64(upper), side)) for side in ("left", "right"))
    return low + first + int(np.searchsorted(starts["low"][first:behind], np.uint64(lower), "right")) - 1


def _fill(intervals: _Intervals, dtype: np.dtype[np.void], room: int) -> NDArray[np.void]:
    """Return the struct with classes and masks."""
    count = len(intervals.masks)
    if count > room:
        raise too_many("intervals of addresses in the access lists", count, room, hint=_HINT)
    classes, masks = _classify(intervals.masks)
    if len(masks) > layout.ACCESS_CLASSES:
        raise too_many(
            "different sets of VIPs that deny some source",
            len(masks),
            layout.ACCESS_CLASSES,
            hint="use one list for VIPs that allow nearly the same sources",
        )
    index = np.zeros(1, dtype)
    index["classes"][0, :count] = classes
    index["masks"]["denied"][0, : len(masks)] = masks
    return index


def _classify(masks: Masks) -> tuple[NDArray[np.intp], Masks]:
    """Return the class of each mask, and the classes' masks. By a hash, since rows of 32 bytes are slow to sort."""
    hashes = (masks * _MIXERS).sum(axis=1, dtype=np.uint64)
    _, first, classes = np.unique(hashes, return_index=True, return_inverse=True)
    found = masks[first]
    if not np.array_equal(found[classes], masks):
        found, classes = np.unique(masks, axis=0, return_inverse=True)
    return classes.reshape(-1), found


def _join(lists: Mapping[int, AccessList], version: int) -> _Intervals:
    """Return all lists in one."""
    check_access_lists(len(lists))
    places, words, bits = [_origin(version)], [np.zeros(1, np.intp)], [np.zeros(1, np.uint64)]
    for number, access_list in lists.items():
        if not access_list or access_list.version != version:
            continue
        changes = _changes(access_list)
        places.append(changes)
        words.append(np.full(changes.shape[1], number // 64))
        bits.append(np.full(changes.shape[1], np.uint64(1 << number % 64)))
    starts, which = _unique(np.concatenate(places, axis=1))
    masks = np.zeros((starts.shape[1], layout.ACCESS_LISTS // 64), np.uint64)
    # A list changes at most once at a place, and each has a bit of its own.
    np.add.at(masks, (which, np.concatenate(words)), np.concatenate(bits))
    return _Intervals(starts, np.bitwise_xor.accumulate(masks, axis=0))


def _changes(access_list: AccessList) -> Addresses:
    """Return the addresses at which a list changes from allow to deny or back; before address 0 it allows."""
    halves = [half for half in (access_list.allow, access_list.deny) if half]
    lengths = np.concatenate([half.lengths for half in halves]).astype(np.uint64)
    denies = np.arange(len(lengths)) >= len(access_list.allow)
    firsts = np.concatenate([half.starts for half in halves], axis=1)
    behind, is_last = _behind(firsts, lengths)
    count = len(lengths)
    starts, which = _unique(np.concatenate([_origin(access_list.version), firsts, behind], axis=1))
    begins, ends = which[1 : count + 1], which[count + 1 :]
    ends = np.where(is_last, starts.shape[1], ends)
    pieces = np.full(starts.shape[1], bool(access_list.allow))
    _paint(pieces, begins, ends, denies, np.argsort(lengths, kind="stable"))
    return starts[:, pieces != np.concatenate([[False], pieces[:-1]])]


def _paint(
    pieces: NDArray[np.bool_],
    begins: NDArray[np.intp],
    ends: NDArray[np.intp],
    values: NDArray[np.bool_],
    order: NDArray[np.intp],
) -> None:
    """Set pieces[begin:end] = value for each, in this order: where several are set, the last one stays."""
    begins, sizes = begins[order], (ends - begins)[order]
    behind = np.cumsum(sizes)
    at = np.arange(sizes.sum()) + np.repeat(begins - (behind - sizes), sizes)
    pieces[at] = np.repeat(values[order], sizes)


def _origin(version: int) -> Addresses:
    """Return address 0."""
    return np.zeros((1 if version == 4 else 2, 1), np.uint64)


def _behind(firsts: Addresses, lengths: NDArray[np.uint64]) -> tuple[Addresses, NDArray[np.bool_]]:
    """Return the address behind each prefix, and whether there is none: the prefix ends with the address space."""
    one = np.uint64(1)
    if len(firsts) == 1:
        behind = firsts + (one << (np.uint64(32) - lengths))
        return behind & np.uint64(0xFFFFFFFF), behind[0] >> np.uint64(32) != 0
    upper, lower = firsts
    is_long = lengths > 64
    # A shift by 64 is not defined: each half is shifted only where its own length is at least 1.
    step = one << (np.uint64(64) - np.clip(np.where(is_long, lengths - np.uint64(64), lengths), one, np.uint64(64)))
    step = np.where(lengths == 0, np.uint64(0), step)
    new_lower = np.where(is_long, lower + step, lower)
    carry = is_long & (new_lower == 0)
    new_upper = upper + np.where(is_long, carry.astype(np.uint64), step)
    behind = np.stack([new_upper, new_lower])
    return behind, (behind == 0).all(axis=0)


def _unique(addresses: Addresses) -> tuple[Addresses, NDArray[np.intp]]:
    """Return the addresses sorted, each once, and for each given one its place among them."""
    order: NDArray[Any] = (
        np.argsort(addresses[0], kind="stable") if len(addresses) == 1 else np.lexsort(addresses[::-1])
    )
    ordered = addresses[:, order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    which = np.empty(len(order), np.intp)
    which[order] = np.cumsum(is_new) - 1
    return ordered[:, is_new], which
