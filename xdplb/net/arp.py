# SPDX-License-Identifier: Apache-2.0
"""ARP requests of our own. The kernel chooses the sender address of its requests, and may choose that of a VIP.

A backend has the VIP's address itself, and answers no request that comes from an address of its own.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

__all__ = ["ask"]

_ETH_P_ARP = 0x0806
_ETH_P_IP = 0x0800
_ARPHRD_ETHER = 1
_REQUEST = 1
_EVERYBODY = b"\xff" * 6
_NOBODY = bytes(4)


def ask(interface: str, mac: bytes, address: IPv4Address) -> None:
    """Ask for the MAC of `address` in the name of no address, as an ARP probe does (RFC 5227 §1.1). Raises OSError.

    The kernel takes the answer for its neighbour table if that has an entry for the address. `mac` is the interface's.
    """
    head = struct.pack("!HHBBH", _ARPHRD_ETHER, _ETH_P_IP, len(mac), address.max_prefixlen // 8, _REQUEST)
    frame = head + mac + _NOBODY + bytes(len(mac)) + address.packed
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sender:
        sender.sendto(frame, (interface, _ETH_P_ARP, 0, _ARPHRD_ETHER, _EVERYBODY))
