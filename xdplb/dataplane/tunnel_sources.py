# SPDX-License-Identifier: Apache-2.0
"""The map that says which tunnels end at the balancer, and whose packets are taken out of them."""

from __future__ import annotations

import numpy as np

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.decap import NO_DECAP, Decap

from . import layout
from .maps import BpfMap

__all__ = ["TunnelSources", "wide_address"]

END_BITS = 128
MAPPED_BITS = 96
MAPPED = bytes(10) + b"\xff\xff"
ALLOWED, REFUSED = 1, 0


def wide_address(address: IPAddress) -> bytes:
    """Return an address in 16 bytes, as maps of tunnels have it: one of IPv4 as ::ffff:a.b.c.d."""
    return MAPPED + address.packed if address.version == 4 else address.packed


class TunnelSources:
    """The map, and what was written into it; `found` is None where the program takes nothing out of tunnels."""

    def __init__(self, found: BpfMap | None) -> None:
        self._map = found
        self._written = _entries(NO_DECAP)

    def write(self, decap: Decap) -> None:
        """Make these the tunnels that end here: what is new first, so that no packet is refused that was taken."""
        self._written = _entries(decap)
        self.restore()

    def restore(self) -> bool:
        """Write again what another process has changed; return whether anything was."""
        if self._map is None:
            return False
        there = {key: int.from_bytes(value, "little") for key, value in self._map.items()}
        wrong = {key: value for key, value in self._written.items() if there.get(key) != value}
        for key in sorted(wrong, key=_bits, reverse=True):
            self._map.update(key, wrong[key])
        left = there.keys() - self._written.keys()
        for key in sorted(left, key=_bits):
            self._map.delete(key)
        return bool(wrong or left)


def _entries(decap: Decap) -> dict[bytes, int]:
    """Return the keys and values: for each end, one for all sources, and one for each prefix that is allowed."""
    entries = {_key(end, 0, bytes(16)): REFUSED for end in decap.at}
    for end in decap.at:
        for prefix in decap.sources:
            if prefix.version == end.version:
                entries[_key(end, _length(prefix), wide_address(prefix.network_address))] = ALLOWED
    return entries


def _length(prefix: IPNetwork) -> int:
    return prefix.prefixlen + (MAPPED_BITS if prefix.version == 4 else 0)


def _key(end: IPAddress, bits: int, source: bytes) -> bytes:
    ends = (np.frombuffer(wide_address(end), np.uint8), np.frombuffer(source, np.uint8))
    return np.array([(END_BITS + bits, ends)], layout.TUNNEL_KEY).tobytes()


def _bits(key: bytes) -> int:
    return int(np.frombuffer(key, layout.TUNNEL_KEY)["bits"][0])
