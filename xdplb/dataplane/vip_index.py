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

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPAddress
from xdplb.model.errors import CapacityError
from xdplb.model.key import VipKey

from . import layout, vip_codec
from .capacity import growth_hint
from .plane import VipEntry

__all__ = ["IPV4", "IPV6", "Family"]

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
    to_field: Callable[[IPAddress], int | tuple[int, int]]
    from_field: Callable[[np.void], IPAddress]

    def build(self, vips: Sequence[VipEntry], groups: int) -> NDArray[np.void]:
        """Return the index that holds these VIPs, shape (1,); `groups` is a power of two.

        Each address with VIPs gets an entry of port 0 and protocol 0 more, by which fragments are known. CapacityError
        if no seed places all.
        """
        return self.place(self._entries(vips), groups)

    def place(self, entries: NDArray[np.void], groups: int) -> NDArray[np.void]:
        """Return the index that holds these entries, such as another index had, shape (1,)."""
        index = np.zeros(1, self.index(groups))
        if len(entries):
            seeds, group = self._find_seeds(entries, groups)
            order = np.argsort(group, kind="stable")
            ordered = group[order]
            rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
            index["entries"][0][ordered * layout.VIP_GROUP_SIZE + rank] = entries[order]
            index[self.seeds] = seeds if len(seeds) > 1 else seeds[0]
        return index

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

    def _entries(self, vips: Sequence[VipEntry]) -> NDArray[np.void]:
        found = _found(vips)
        addresses = sorted({int(vip.key.address): vip.key.address for vip in vips}.items())
        entries = np.zeros(len(found) + len(addresses), self.entry)
        values = vip_codec.encode(vips)
        for entry, ((_, port, protocol), number) in zip(entries, found.items(), strict=False):
            entry["address"] = self.to_field(vips[number].key.address)
            entry["port"], entry["protocol"], entry["vip"] = port, protocol, values[number]
        for entry, (_, address) in zip(entries[len(found) :], addresses, strict=True):
            entry["address"] = self.to_field(address)
        return entries

    def _find_seeds(self, entries: NDArray[np.void], groups: int) -> tuple[list[int], NDArray[np.int64]]:
        words = len(self.words(entries[:1]))
        for seeds in _seeds(words):
            group = self.group_of(entries, seeds, groups)
            if np.bincount(group).max() <= layout.VIP_GROUP_SIZE:
                return seeds, group
        raise CapacityError(
            f"the VIP index of {groups} groups has no room for these {len(entries)} entries (one for each VIP and "
            "protocol, and one for each address)",
            hint=f"put more VIPs on one address, or {growth_hint('VIPs')}",
        )


def _found(vips: Sequence[VipEntry]) -> dict[tuple[int, int, int], int]:
    """Return which VIP, by its place, has each address, port and protocol: of two, that of one protocol alone."""
    found = {}
    for number, vip in sorted(enumerate(vips), key=lambda numbered: numbered[1].key.rank):
        for protocol in vip.key.protocol.numbers:
            found[int(vip.key.address), vip.key.port, protocol] = number
    return found


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


def _halves(address: IPAddress) -> tuple[int, int]:
    return int(address) >> 64, int(address) & LOW64


def _from_halves(field: np.void) -> IPAddress:
    return IPv6Address(int(field[0]) << 64 | int(field[1]))


IPV4 = Family(layout.VIP_ENTRY, layout.vip_index, "seed", _words4, int, lambda field: IPv4Address(int(field)))
IPV6 = Family(layout.VIP6_ENTRY, layout.vip6_index, "seeds", _words6, _halves, _from_halves)
