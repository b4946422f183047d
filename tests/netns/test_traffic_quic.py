# SPDX-License-Identifier: Apache-2.0
"""Datagrams with QUIC connection IDs: they reach the backend that gave the ID out, wherever they come from."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP

from .balancer import FORWARDS, PORT, UDP_KEY, Balancer

HOSTS = ("dr1", "ipip1", "side")
IDS = {"dr1": "0001", "ipip1": "0002", "side": "0003"}
NOBODYS = "00ff"

CLIENT = """
import socket, sys, time
address, port, count, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
packet = bytes.fromhex(sys.argv[5])
for _ in range(count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((address, port))
        client.settimeout(5)
        client.send(packet)
        print(client.recv(2048).split()[0].decode(), flush=True)
        time.sleep(pause)
"""


def argv(server_id: str, count: int, pause: float = 0) -> list[str]:
    """Return what sends packets with short headers (RFC 9000, section 17.3), each by another port.

    It prints who answers.
    """
    packet = "40" + "00" + server_id + "a1b2c3d4e5" + "00" * 20
    return [sys.executable, "-c", CLIENT, str(VIP), str(PORT), str(count), str(pause), packet]


def answers(balancer: Balancer, server_id: str, count: int) -> Counter[str]:
    return Counter(balancer.lab.run("client", argv(server_id, count)).stdout.split())


def add(balancer: Balancer) -> None:
    balancer.cli("vip", "add", UDP_KEY, "--quic-server-id-bytes", "2")
    for host in HOSTS:
        options = ["--forward", FORWARDS[host], "--quic-server-id", IDS[host]]
        balancer.cli("backend", "add", UDP_KEY, str(ADDRESSES[host]), *options)
    until(lambda: all(balancer.status(host, key=UDP_KEY)["share"] > 0 for host in HOSTS))


def test_a_client_that_changes_its_address_stays_with_its_backend(ready: Balancer) -> None:
    add(ready)
    for host in HOSTS:
        assert answers(ready, IDS[host], 20) == {host: 20}
    assert set(answers(ready, NOBODYS, 60)) == set(HOSTS)


def test_a_drain_waits_until_no_packet_comes_any_more(ready: Balancer) -> None:
    """Those packets have no records: what the backend is sent is all that tells of its connections."""
    add(ready)
    talking = ready.lab.popen("client", argv(IDS["dr1"], 40, 0.2), stdout=subprocess.PIPE, text=True)
    assert talking.stdout is not None
    assert talking.stdout.readline() == "dr1\n"
    waiting = ready.drain("dr1", "--quiet", "3s", "--timeout", "60s", key=UDP_KEY)
    until(lambda: ready.status("dr1", key=UDP_KEY)["share"] == 0)
    assert "dr1" not in answers(ready, NOBODYS, 60)
    rest = talking.stdout.read().split()
    drain = ready.status("dr1", key=UDP_KEY)["drain"]
    assert (rest, drain["state"], drain["flows"]) == (["dr1"] * 39, "draining", None)
    assert waiting.wait(60) == 0
    assert ready.status("dr1", key=UDP_KEY)["drain"]["flows"] == 0
