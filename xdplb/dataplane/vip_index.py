"""The VIP index: a set-associative table of our own (see bpf/lib/layout.h), built here and searched in the kernel.

A VIP lies in one group of VIP_GROUP_SIZE entries: the upper bits of its key times a seed. The groups are sparse (at
most one entry for two groups), and the seed is the multiplier, so that keys in a row cannot collide under all seeds:
one with which no group overflows is soon found.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

import numpy as np
from numpy.typing import NDArray

from xdplb.model.errors import CapacityError
from xdplb.model.vip import Protocol, VipKey

from . import layout
from .plane import VipEntry

__all__ = ["build", "group_of", "parse"]

MAX_SEEDS = 20_000
PROTOCOLS = {protocol.number: protocol for protocol in Protocol}


def build(vips: Sequence[VipEntry], groups: int) -> NDArray[np.void]:
    """Return the index that holds these VIPs, shape (1,); `groups` is a power of two.

    Each address with VIPs gets an entry of port 0 and protocol 0 more, by which fragments are known. CapacityError
    where no seed places all (not seen below one VIP for four groups).
    """
    index = np.zeros(1, layout.vip_index(groups))
    entries = _entries(vips)
    if len(entries):
        seed, group = _find_seed(entries, groups)
        order = np.argsort(group, kind="stable")
        ordered = group[order]
        rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
        index["entries"][0][ordered * layout.VIP_GROUP_SIZE + rank] = entries[order]
        index["seed"] = seed
    return index


def parse(index: NDArray[np.void]) -> dict[int, VipEntry]:
    """Return the VIPs in an index, by id."""
    entries = index["entries"][0]
    return {
        int(entry["id"]): VipEntry(
            id=int(entry["id"]),
            key=VipKey(IPv4Address(int(entry["address"])), int(entry["port"]), PROTOCOLS[int(entry["protocol"])]),
            track_always=bool(entry["flags"] & layout.VIP_TRACK_ALWAYS),
            hash_source=bool(entry["flags"] & layout.VIP_HASH_SOURCE),
            idle_seconds=int(entry["idle_seconds"]),
        )
        for entry in entries[entries["protocol"] != 0]
    }


def group_of(entries: NDArray[np.void], seed: int, groups: int) -> NDArray[np.int64]:
    """Return the group of each entry, as vip.h computes it from the packet's raw bytes."""
    address = np.ascontiguousarray(entries["address"]).view("<u4").astype(np.uint64)
    port = np.ascontiguousarray(entries["port"]).view("<u2").astype(np.uint64)
    protocol = entries["protocol"].astype(np.uint64)
    key = address | port << np.uint64(32) | protocol << np.uint64(48)
    group: NDArray[np.int64] = (key * np.uint64(seed) >> np.uint64(65 - groups.bit_length())).astype(np.int64)
    return group


def _entries(vips: Sequence[VipEntry]) -> NDArray[np.void]:
    addresses = sorted({vip.key.address for vip in vips})
    entries = np.zeros(len(vips) + len(addresses), layout.VIP_ENTRY)
    for number, vip in enumerate(vips):
        flags = layout.VIP_TRACK_ALWAYS * vip.track_always | layout.VIP_HASH_SOURCE * vip.hash_source
        key = vip.key
        entries[number] = (int(key.address), key.port, key.protocol.number, flags, vip.id, vip.idle_seconds, 0)
    entries["address"][len(vips) :] = [int(address) for address in addresses]
    return entries


def _find_seed(entries: NDArray[np.void], groups: int) -> tuple[int, NDArray[np.int64]]:
    for seed in _seeds():
        group = group_of(entries, seed, groups)
        if np.bincount(group).max() <= layout.VIP_GROUP_SIZE:
            return seed, group
    raise CapacityError(
        f"the VIP index of {groups} groups has no room for these {len(entries)} entries",
        hint="`xdplb down --all`, then `xdplb up` with a larger --max-vips",
    )


def _seeds() -> Iterator[int]:
    """Yield odd numbers that look random and are the same each time, so that the same VIPs make the same index."""
    generator = random.Random(0)  # noqa: S311 - no secret
    return (generator.getrandbits(64) | 1 for _ in range(MAX_SEEDS))
