# SPDX-License-Identifier: Apache-2.0
"""Datagrams longer than any packet: their fragments all reach one backend, which puts them together."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from .balancer import PORT, Balancer
from .both_families import BOTH, Family, add_vip, remove_vips
from .conftest import new_lab

HOSTS = {"dr1": "dr", "dr2": "dr", "ipip1": "ipip"}
LENGTH = 5000
DATAGRAMS = 30

DIGEST = """
import hashlib, socket, sys
name, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as service:
    service.bind((address, port))
    print("bound", flush=True)
    while True:
        data, client = service.recvfrom(1 << 16)
        service.sendto(f"{name} {hashlib.sha256(data).hexdigest()}".encode(), client)
"""

SEND = """
import random, socket, sys
address, port, length, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for number in range(count):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((address, port))
        client.settimeout(1)
        for _ in range(3):
            try:
                client.send(random.Random(number).randbytes(length))
                print(number, client.recv(1000).decode())
                break
            except OSError as error:  # also EMSGSIZE: the balancer has just told what fits
                print(error, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Balancer]:
    """A balancer with two backends by DR and one behind a tunnel, each of which says what it has put together."""
    with new_lab() as lab:
        balancer = Balancer(lab)
        for host, forward in HOSTS.items():
            for family in BOTH:
                options = ["--forward", forward, "--interface", "eth0"]
                balancer.backend_host(host, "setup", str(family.vip), *options)
                argv = [sys.executable, "-c", DIGEST, host, str(family.vip), str(PORT)]
                service = lab.popen(host, argv, stdout=subprocess.PIPE, text=True)
                assert service.stdout is not None
                assert service.stdout.readline() == "bound\n"
        balancer.start()
        yield balancer


@pytest.fixture
def ready(shared: Balancer) -> Iterator[Balancer]:
    """The same without VIPs."""
    yield shared
    remove_vips(shared)


@pytest.mark.parametrize("family", BOTH, ids=lambda family: f"IPv{family.version}")
@pytest.mark.parametrize("hosts", [["dr1", "dr2"], ["ipip1"]], ids=lambda hosts: HOSTS[hosts[0]])
def test_long_datagrams_arrive_whole(ready: Balancer, family: Family, hosts: list[str]) -> None:
    """Through a tunnel too, whose path is too narrow for the first ones: the client is told, and cuts smaller ones."""
    add_vip(ready, family, hosts, HOSTS[hosts[0]], key=family.key(protocol="udp"))
    argv = [sys.executable, "-c", SEND, str(family.vip), str(PORT), str(LENGTH), str(DATAGRAMS)]
    before = ready.drops()
    answers = [line.split() for line in ready.lab.run("client", argv, timeout=120).stdout.splitlines()]

    assert [int(number) for number, _, _ in answers] == list(range(DATAGRAMS))
    assert all(digest == hashlib.sha256(sent(int(number))).hexdigest() for number, _, digest in answers)
    assert Counter(name for _, name, _ in answers).keys() == set(hosts)
    if HOSTS[hosts[0]] == "dr":
        assert ready.drops() == before


def sent(number: int) -> bytes:
    """Return the datagram of this number."""
    return random.Random(number).randbytes(LENGTH)
