# SPDX-License-Identifier: Apache-2.0
"""Real TCP handshakes, with the kernel's own timers, for the tests of second choices.

    handshakes.py serve NAME PORT            sends NAME on each new connection, then sends back what it is sent
    handshakes.py dial ADDRESS PORT COUNT    begins COUNT connections at once; writes for each who answered, and after
                                             how many seconds. On each line on stdin it sends a line on every one, and
                                             writes how many are with the same backend still
    handshakes.py delay ADDRESS SECONDS      lets what comes in on eth0 for ADDRESS reach this host late

`delay` gives the host's own TCP nothing but packets from a tun device: what comes in on eth0 for the address is not
taken, but read by a packet socket, and written to that device later.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque

ETH_P_IP = 0x0800
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PATIENCE_SECONDS = 20.0


def serve(name: str, port: int) -> None:
    with socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_greet, args=(connection, name), daemon=True).start()


def _greet(connection: socket.socket, name: str) -> None:
    connection.sendall(f"{name}\n".encode())
    while data := connection.recv(1000):
        connection.sendall(f"{name} {data.decode()}".encode())


def dial(address: str, port: int, count: int) -> None:
    began = time.monotonic()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connections = [socket.socket(family) for _ in range(count)]
    for connection in connections:
        connection.setblocking(False)  # noqa: FBT003
        connection.connect_ex((address, port))
    names: dict[socket.socket, str] = {}
    while len(names) < count and time.monotonic() < began + PATIENCE_SECONDS:
        waiting = [connection for connection in connections if connection not in names]
        for connection in select.select(waiting, [], [], 0.2)[0]:
            try:
                names[connection] = connection.recv(100).decode().strip() or "closed"
            except OSError:
                names[connection] = "refused"
            print(names[connection], f"{time.monotonic() - began:.3f}", flush=True)
    print("all", flush=True)
    for line in sys.stdin:
        same = sum(_answers(connection, line, name) for connection, name in names.items())
        print(same, flush=True)


def _answers(connection: socket.socket, line: str, name: str) -> bool:
    connection.settimeout(PATIENCE_SECONDS)
    try:
        connection.sendall(line.encode())
        return connection.recv(1000).decode() == f"{name} {line}"
    except OSError:
        return False


def delay(address: str, seconds: float) -> None:
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"late", IFF_TUN | IFF_NO_PI))
    wanted = socket.inet_aton(address)
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    packets.bind(("eth0", ETH_P_IP))
    for line in (
        "ip link set late up",
        "ip rule add pref 10 iif late lookup local",
        "ip rule add pref 20 lookup local",
        f"ip rule add pref 15 iif eth0 to {address} blackhole",
        "ip rule del pref 0",
        "sysctl -qw net.ipv4.conf.late.rp_filter=0",
    ):
        subprocess.run(line.split(), check=True)
    print("ready", flush=True)
    late: deque[tuple[float, bytes]] = deque()
    while True:
        timeout = max(0.0, late[0][0] - time.monotonic()) if late else None
        if select.select([packets], [], [], timeout)[0]:
            packet = packets.recv(65536)
            if packet[16:20] == wanted:
                late.append((time.monotonic() + seconds, packet))
        while late and late[0][0] <= time.monotonic():
            os.write(tun, late.popleft()[1])


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "serve":
        serve(arguments[0], int(arguments[1]))
    elif what == "dial":
        dial(arguments[0], int(arguments[1]), int(arguments[2]))
    else:
        delay(arguments[0], float(arguments[1]))


if __name__ == "__main__":
    main()
