# SPDX-License-Identifier: Apache-2.0
"""The ways in the kernel that replies go to nearly all clients, one for each IP version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPNetwork
from xdplb.model.next_hop import ClientWay

from . import layout
from .maps import BpfMap
from .pinned_maps import Maps

__all__ = ["ClientWays", "encode_way"]

VERSIONS = (4, 6)
"""By their places in the map."""

NOBODY = (1, 0)
"""A prefix that has no address."""


def encode_way(way: ClientWay | None) -> NDArray[np.void]:
    """Return the value of a way, shape (1,); ValueError if it has more other prefixes than there is room for."""
    value = np.zeros(1, layout.CLIENT_WAY)
    if way is None:
        return value
    if len(way.others) > layout.CLIENT_OTHERS:
        raise ValueError(f"a way has room for {layout.CLIENT_OTHERS} other prefixes, not {len(way.others)}")
    hop = value["hop"]  # a view
    hop["destination_mac"] = np.frombuffer(way.next_hop.destination_mac, np.uint8)
    hop["source_mac"] = np.frombuffer(way.next_hop.source_mac, np.uint8)
    hop["ifindex"], hop["mtu"] = way.next_hop.ifindex, min(way.next_hop.mtu, 0xFFFF)
    hop["flags"] = layout.BACKEND_USABLE
    value["has_more"] = len(way.others) > layout.CLIENT_FEW
    prefixes = [*map(_prefix, way.others), *[NOBODY] * (layout.CLIENT_OTHERS - len(way.others))]
    value["others"]["network"][0], value["others"]["mask"][0] = zip(*prefixes, strict=True)
    return value


def _prefix(network: IPNetwork) -> tuple[int, int]:
    """Return the first 64 bits of a prefix and of its mask, as they lie in a header."""
    parts = (part.packed.ljust(8, b"\0")[:8] for part in (network.network_address, network.netmask))
    first, mask = (int.from_bytes(part, "little") for part in parts)
    return first, mask


class ClientWays:
    """Writes the ways, where there is a map for them. What is there at first stays until another is written."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._map: BpfMap | None = None
        self._held: dict[int, bytes] = {}

    def write(self, ways: Mapping[int, ClientWay]) -> None:
        """Let replies go these ways, by IP version; those of a version without one ask the kernel for theirs."""
        found = self._maps.client_ways
        if found is None:
            return
        if found is not self._map:
            self._map = found
            self._held = {place: found.read(place) for place in range(len(VERSIONS))}
        for place, version in enumerate(VERSIONS):
            wanted = encode_way(ways.get(version))
            if wanted.tobytes() != self._held[place]:
                self._put(found, place, wanted)

    def restore(self) -> bool:
        """Put right what another process has changed; return whether there was anything."""
        found = self._maps.client_ways
        if found is None or found is not self._map:
            return False
        changed = [place for place, held in self._held.items() if found.read(place) != held]
        for place in changed:
            self._put(found, place, np.frombuffer(self._held[place], layout.CLIENT_WAY))
        return bool(changed)

    def _put(self, found: BpfMap, place: int, wanted: NDArray[Any]) -> None:
        """Write a way. Meanwhile there is none, so that no packet takes half of the old one with half of the new."""
        found.update(place, encode_way(None))
        found.update(place, wanted)
        self._held[place] = wanted.tobytes()
