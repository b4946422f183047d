"""Frames that pass an interface of the lab."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from xdplb.net.lab import Lab

ETH_P_ALL = 3
IPPROTO_IPIP = 4


@contextmanager
def captured(lab: Lab, host: str, interface: str) -> Iterator[list[bytes]]:
    """Collect the IPv4 packets (without Ethernet header) that pass the interface while the block runs."""
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
            if protocol == 0x0800:
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
