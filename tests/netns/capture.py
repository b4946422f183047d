# SPDX-License-Identifier: Apache-2.0
"""Frames that pass an interface of the lab."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from xdplb.net.lab import Lab

ETH_P_ALL = 3
ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ARP_REQUEST = 1
IPPROTO_IPIP = 4


@contextmanager
def captured(lab: Lab, host: str, interface: str) -> Iterator[list[bytes]]:
    """Collect the IPv4 packets (without Ethernet header) that pass the interface while the block runs."""
    with _frames(lab, host, interface, ETH_P_IP) as packets:
        yield packets


@contextmanager
def solicitations(lab: Lab, host: str, interface: str) -> Iterator[list[IPv4Address]]:
    """Collect the addresses that ARP requests ask for, of those that pass the interface while the block runs.

    The list is filled at the end of the block.
    """
    asked: list[IPv4Address] = []
    with _frames(lab, host, interface, ETH_P_ARP) as packets:
        yield asked
    asked += [IPv4Address(packet[24:28]) for packet in packets if packet[7] == ARP_REQUEST]


@contextmanager
def _frames(lab: Lab, host: str, interface: str, wanted: int) -> Iterator[list[bytes]]:
    packets: list[bytes] = []
    sniffer = lab.inside(host, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)))
    sniffer.bind((interface, ETH_P_ALL))
    sniffer.settimeout(0.1)
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            try:
                data, (_, protocol, *_) = sniffer.recvfrom(1 << 16)
            except TimeoutError:
                continue
            if protocol == wanted:
                packets.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield packets
    finally:
        ended.set()
        reader.join()
        sniffer.close()


def tunnel_sources(packets: list[bytes]) -> set[IPv4Address]:
    """Return the outer source addresses of the IPIP packets."""
    return {IPv4Address(packet[12:16]) for packet in packets if packet[9] == IPPROTO_IPIP}
