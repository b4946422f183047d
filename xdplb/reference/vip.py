# SPDX-License-Identifier: Apache-2.0
"""Which VIP is it for? VIPs by address, port and protocol."""

from __future__ import annotations

from xdplb.dataplane.plane import VipEntry
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

from .config import Config
from .packet import Packet

__all__ = ["find_vip", "has_vips"]


def find_vip(config: Config, packet: Packet) -> VipEntry | None:
    """Return the VIP for the packet's destination address, port and protocol; of several, the most specific."""
    port, protocol = packet.destination_port, packet.protocol
    matching = [
        vip
        for vip in config.vips.values()
        if _holds(vip.key, packet.destination) and port in vip.key.ports and protocol in vip.key.protocol.numbers
    ]
    return max(matching, key=lambda vip: vip.key.rank, default=None)


def has_vips(config: Config, address: IPAddress) -> bool:
    """Whether any VIP has this address, on whatever port."""
    return any(_holds(vip.key, address) for vip in config.vips.values())


def _holds(key: VipKey, address: IPAddress) -> bool:
    host_bits = address.max_prefixlen - (key.prefix_length or 0)
    return key.address.version == address.version and int(key.address) >> host_bits == int(address) >> host_bits
