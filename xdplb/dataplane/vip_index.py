# SPDX-License-Identifier: Apache-2.0
"""Builds and reads the VIP indexes: set-associative tables (see bpf/lib/layout.h) that the kernel program searches.

A VIP of one address and port lies in one group of VIP_GROUP_SIZE entries: the upper bits of its key times a seed, for
IPv6 of the sum of three words' products. The groups are sparse, and the seeds are multipliers, so that keys in a row
cannot collide under all of them: some with which no group overflows are soon found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPAddress
from xdplb.model.errors import CapacityError
from xdplb.model.key import VipKey

from . import layout, vip_codec
from .capacity import growth_hint
from .plane import VipEntry

__all__ = ["INDEXES", "IPV4", "IPV6", "Family"]

MAX_SEEDS = 20_000
LOW64 = 2**64 - 1

Words = tuple[NDArray[np.uint64], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """The index of one of the two address families."""

    entry: np.dtype[np.void]
    index: Callable[[int], np.dtype[np.void]]
    seeds: str
    words: Callable[[NDArray[np.void]], Words]
    to_field: Callable[[int], int | tuple[int, int]]
    from_field: Callable[[np.void], IPAddress]

    def rows(self, places: Sequence[tuple[int, int, int]], vips: Sequence[VipEntry | None]) -> list[bytes]:
        """Return the entries of these addresses, ports and protocols, with their VIPs: None for an address alone."""
        entries = np.zeros(len(places), self.entry)
        known = [number for number, vip in enumerate(vips) if vip is not None]
        entries["vip"][known] = vip_codec.encode([vip for vip in vips if vip is not None])
        for number, (address, port, protocol) in enumerate(places):
            entries["address"][number] = self.to_field(address)
            entries["port"][number], entries["protocol"][number] = port, protocol
        size, data = self.entry.itemsize, entries.tobytes()
        return [data[at : at + size] for at in range(0, len(data), size)]

    def place(self, entries: NDArray[np.void], groups: int, first: Sequence[int] | None = None) -> NDArray[np.void]:
        """Return the index that holds these entries, shape (1,); `groups` is a power of two.

        The seeds `first` are tried before others. CapacityError if no seed places all.
        """
        index = np.zeros(1, self.index(groups))
        if len(entries):
            seeds, group = self._find_seeds(entries, groups, first)
            order = np.argsort(group, kind="stable")
            ordered = group[order]
            rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
            index["entries"][0][ordered * layout.VIP_GROUP_SIZE + rank] = entries[order]
            index[self.seeds] = seeds if len(seeds) > 1 else seeds[0]
        return index

    def seeds_of(self, index: NDArray[np.void]) -> list[int]:
        """Return the seeds by which the entries of an index were placed."""
        seeds: list[int] = np.ravel(index[self.seeds]).tolist()
        return seeds

    def entries_of(self, index: NDArray[np.void]) -> NDArray[np.void]:
        """Return the entries in an index, also those that only say that an address has VIPs."""
        entries = index["entries"][0]
        is_used = entries["address"] != 0
        used: NDArray[np.void] = entries[is_used if is_used.ndim == 1 else is_used.any(axis=1)]
        return used

    def parse(self, index: NDArray[np.void]) -> dict[int, VipEntry]:
        """Return the VIPs in an index, by id, without their limits."""
        entries = index["entries"][0]
        used = entries[entries["protocol"] != 0]
        return {int(entry["vip"]["id"]): vip_codec.decode(entry["vip"], self._key(entry)) for entry in used}

    def group_of(self, entries: NDArray[np.void], seeds: Sequence[int], groups: int) -> NDArray[np.int64]:
        """Return the group of each entry, as the program computes it from the packet's raw bytes."""
        products = [word * np.uint64(seed) for word, seed in zip(self.words(entries), seeds, strict=True)]
        total = np.sum(products, axis=0, dtype=np.uint64)
        group = total >> np.uint64(65 - groups.bit_length())
        return np.asarray(group, np.int64)

    def _key(self, entry: np.void) -> VipKey:
        protocol = vip_codec.protocol_of(entry["vip"], int(entry["protocol"]))
        return VipKey(self.from_field(entry["address"]), int(entry["port"]), protocol)

    def _find_seeds(
        self, entries: NDArray[np.void], groups: int, first: Sequence[int] | None
    ) -> tuple[Sequence[int], NDArray[np.int64]]:
        words = len(self.words(entries[:1]))
        for seeds in chain([first] if first is not None and any(first) else [], _seeds(words)):
            group = self.group_of(entries, seeds, groups)
            if np.bincount(group).max() <= layout.VIP_GROUP_SIZE:
                return seeds, group
        raise CapacityError(
            f"the VIP index of {groups} groups has no room for these {len(entries)} entries (one for each VIP and "
            "protocol, and one for each address)",
            hint=f"put more VIPs on one address, or {growth_hint('VIPs')}",
        )


def _seeds(words: int) -> Iterator[list[int]]:
    """Yield odd numbers that look random and are the same each time, so that the same VIPs make the same index."""
    generator = random.Random(0)  # noqa: S311 - no secret
    return ([generator.getrandbits(64) | 1 for _ in range(words)] for _ in range(MAX_SEEDS))


def _transport(entries: NDArray[np.void]) -> NDArray[np.uint64]:
    """Return port and protocol as the program loads them: the port as it lies in memory."""
    port = np.ascontiguousarray(entries["port"]).view("<u2").astype(np.uint64)
    word: NDArray[np.uint64] = port | entries["protocol"].astype(np.uint64) << np.uint64(16)
    return word


def _words4(entries: NDArray[np.void]) -> Words:
    address = np.ascontiguousarray(entries["address"]).view("<u4").astype(np.uint64)
    return (address | _transport(entries) << np.uint64(32),)


def _words6(entries: NDArray[np.void]) -> Words:
    halves = entries["address"].astype(np.uint64)
    return halves[:, 0], halves[:, 1], _transport(entries)


def _halves(address: int) -> tuple[int, int]:
    return address >> 64, address & LOW64


def _from_halves(field: np.void) -> IPAddress:
    return IPv6Address(int(field[0]) << 64 | int(field[1]))


IPV4 = Family(layout.VIP_ENTRY, layout.vip_index, "seed", _words4, int, lambda field: IPv4Address(int(field)))
IPV6 = Family(layout.VIP6_ENTRY, layout.vip6_index, "seeds", _words6, _halves, _from_halves)

INDEXES = {"vip_index": IPV4, "vip_index6": IPV6}
"""By the names of their maps."""
