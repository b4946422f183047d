# SPDX-License-Identifier: Apache-2.0
"""Real clients and VIPs that hash the port that is asked, or addresses alone: in both families."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping

import pytest

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, VIP6

from .balancer import Balancer
from .conftest import new_lab

HOSTS = "dr1", "side"
PORTS = range(20000, 20016)

SERVE = """
import selectors, socket, sys
name, first, last, vips = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
waiting = selectors.DefaultSelector()
for vip in vips:
    for port in range(first, last + 1):
        one = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((vip, port))
        waiting.register(one, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in waiting.select():
        _, client = key.fileobj.recvfrom(100)
        key.fileobj.sendto(name.encode(), client)
"""
"""Answers datagrams to any of the ports with the host's name."""

ASK = """
import json, socket, sys
vip, first, last, count = sys.argv[1], *map(int, sys.argv[2:])
answers = {}
for port in range(first, last + 1):
    for _ in range(count):
        with socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.connect((vip, port))
            for attempt in range(10):
                client.send(b"who?")
                try:
                    answers.setdefault(port, []).append(client.recv(100).decode())
                    break
                except TimeoutError:
                    pass
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def both() -> Iterator[Balancer]:
    """A balancer, and two hosts that answer for both VIPs on all of the ports."""
    with new_lab() as built:
        balancer = Balancer(built)
        for host in HOSTS:
            for vip in (VIP, VIP6):
                balancer.backend_host(host, "setup", str(vip), "--interface", "eth0")
            ports = str(PORTS[0]), str(PORTS[-1])
            served = built.popen(host, [sys.executable, "-c", SERVE, host, *ports, str(VIP), str(VIP6)], stdout=-1)
            assert served.stdout is not None
            assert served.stdout.readline().strip() in {"ready", b"ready"}
        balancer.start(nics=("eth0", "eth1"))
        yield balancer


def add(balancer: Balancer, address: str, hashed: str, addresses: Mapping[str, object]) -> str:
    key = f"{address}:{PORTS[0]}-{PORTS[-1]}/udp"
    balancer.cli("vip", "add", key, "--hash", hashed)
    for host in HOSTS:
        balancer.cli("backend", "add", key, str(addresses[host]))
    for host in HOSTS:
        until(lambda host=host: balancer.ask("backend", "show", key, str(addresses[host]))["status"]["share"] > 0)  # type: ignore[misc]
    return key


def answers(balancer: Balancer, vip: str, count: int) -> dict[int, list[str]]:
    asked = [sys.executable, "-c", ASK, vip, str(PORTS[0]), str(PORTS[-1]), str(count)]
    told: dict[str, list[str]] = json.loads(balancer.lab.run("client", asked, timeout=120).stdout)
    return {int(port): names for port, names in told.items()}


@pytest.mark.parametrize("family", [4, 6])
def test_all_that_ask_a_port_reach_the_same_backend(both: Balancer, family: int) -> None:
    vip, addresses = (f"{VIP}", {**ADDRESSES}) if family == 4 else (f"[{VIP6}]", {**ADDRESSES6})
    key = add(both, vip, "destination-port", addresses)
    found = answers(both, vip.strip("[]"), 5)
    assert set(found) == set(PORTS)
    assert {len(names) for names in found.values()} == {5}
    assert all(len(set(names)) == 1 for names in found.values()), found
    assert {names[0] for names in found.values()} == set(HOSTS), "the ports are spread over the backends"
    client = "192.0.2.99" if family == 4 else "[2001:db8:99::1]"
    for port in PORTS[:3]:
        told = both.ask("explain", f"{client}:7", f"{vip}:{port}/udp")["backend"]
        assert told == str(addresses[found[port][0]]), "any other client would be sent there, too"
    both.cli("vip", "rm", key)


@pytest.mark.parametrize("family", [4, 6])
def test_a_client_reaches_the_same_backend_at_all_ports_of_an_address(both: Balancer, family: int) -> None:
    vip, addresses = (f"{VIP}", {**ADDRESSES}) if family == 4 else (f"[{VIP6}]", {**ADDRESSES6})
    key = add(both, vip, "addresses", addresses)
    found = answers(both, vip.strip("[]"), 3)
    assert set(found) == set(PORTS)
    assert len({name for names in found.values() for name in names}) == 1
    both.cli("vip", "rm", key)
