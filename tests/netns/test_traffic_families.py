# SPDX-License-Identifier: Apache-2.0
"""Packets of both families reach backends of both families, by DR, IPIP and GUE, and what is too big is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.waiting import until
from xdplb.model.address import IPAddress
from xdplb.model.vip import Forward
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, VIP6

from .balancer import PORT, Balancer
from .conftest import new_lab

TUNNELLED = "ipip1"
VIPS: dict[int, IPAddress] = {4: VIP, 6: VIP6}
HOSTS: dict[int, dict[str, IPAddress]] = {4: {**ADDRESSES}, 6: {**ADDRESSES6}}

ECHO = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
for _ in range(int(sys.argv[3])):
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((sys.argv[1], int(sys.argv[2])))
        client.send(b"hello")
        print(client.recv(100).decode())
"""


@dataclass(frozen=True)
class Way:
    """How packets of a family (`inner`) go to a host whose address is of another or the same one (`outer`)."""

    host: str
    forward: Forward
    inner: int
    outer: int

    def __str__(self) -> str:
        return f"{self.host}-{self.forward}-{self.inner}in{self.outer}"

    @property
    def vip(self) -> str:
        """The VIP's address as in a URL."""
        return str(VIP) if self.inner == 4 else f"[{VIP6}]"

    @property
    def backend(self) -> str:
        """The backend's address."""
        return str(HOSTS[self.outer][self.host])

    def key(self, protocol: str = "tcp") -> str:
        """The VIP in the command line's words."""
        return f"{self.vip}:{PORT}/{protocol}"


TUNNELS = [
    Way(TUNNELLED, forward, inner, outer)
    for forward in (Forward.IPIP, Forward.GUE)
    for inner in (4, 6)
    for outer in (4, 6)
]
DIRECT = [Way(host, Forward.DR, family, family) for host in ("dr1", "side") for family in (4, 6)]

every_way = pytest.mark.parametrize("way", [*DIRECT, *TUNNELS], ids=str)


@pytest.fixture(scope="module")
def families() -> Iterator[Balancer]:
    """A balancer on both its NICs, and hosts that are ready for both VIPs however their packets come."""
    with new_lab() as built:
        balancer = Balancer(built)
        for way in (*DIRECT, *TUNNELS):
            options = ["--outer", f"ipv{way.outer}", "--interface", "eth0"]
            balancer.backend_host(way.host, "setup", str(VIPS[way.inner]), "--forward", way.forward, *options)
        for host in ("dr1", "side", TUNNELLED):
            balancer.serve(host, VIP, VIP6)
        balancer.start(nics=("eth0", "eth1"))
        yield balancer


@pytest.fixture
def fresh(families: Balancer) -> Iterator[Balancer]:
    """The balancer, without a VIP afterwards."""
    yield families
    families.remove_vips()


def add(balancer: Balancer, way: Way, protocol: str = "tcp") -> None:
    """Add the way's VIP with its one backend, and wait until that serves."""
    balancer.cli("vip", "add", way.key(protocol), "--forward", way.forward)
    join(balancer, way, protocol)


def join(balancer: Balancer, way: Way, protocol: str = "tcp") -> None:
    """Add the way's backend to its VIP, and wait until that serves."""
    balancer.cli("backend", "add", way.key(protocol), way.backend, "--forward", way.forward)
    until(lambda: status(balancer, way, protocol)["share"] > 0)


def status(balancer: Balancer, way: Way, protocol: str = "tcp") -> dict[str, Any]:
    found: dict[str, Any] = balancer.ask("backend", "show", way.key(protocol), way.backend)["status"]
    return found


def fetch(balancer: Balancer, way: Way, *options: str, path: str = "") -> str:
    asked = ["curl", "-gsSf", "--max-time", "10", *options, f"http://{way.vip}/{path}"]
    return balancer.lab.run("client", asked).stdout


def forget_paths(balancer: Balancer) -> None:
    """Have the client forget what it was told about paths' MTUs."""
    for family in ("-4", "-6"):
        balancer.lab.run("client", ["ip", family, "route", "flush", "cache"])


@every_way
def test_the_backend_sees_the_client_s_own_address(fresh: Balancer, way: Way) -> None:
    add(fresh, way)
    client = HOSTS[way.inner]["client"]
    assert fetch(fresh, way) == f"{way.host} {client}\n"


@every_way
def test_an_upload_of_full_segments_arrives(fresh: Balancer, way: Way) -> None:
    add(fresh, way)
    body = fresh.lab.folder / "body"
    body.write_bytes(bytes(3_000_000))
    before = fresh.ask("stats")
    assert fetch(fresh, way, "-H", "Expect:", "--data-binary", f"@{body}") == "3000000\n"
    assert fresh.ask("stats")["drops"] == before["drops"]


@every_way
def test_datagrams_are_answered_from_the_vip(fresh: Balancer, way: Way) -> None:
    add(fresh, way, "udp")
    command = [sys.executable, "-c", ECHO, str(VIPS[way.inner]), str(PORT), "20"]
    assert fresh.lab.run("client", command).stdout.splitlines() == [f"{way.host} hello"] * 20


@pytest.mark.parametrize("way", TUNNELS, ids=str)
def test_a_client_that_sends_too_much_is_told_and_sends_less(fresh: Balancer, way: Way) -> None:
    """The backend's route asks for small segments no longer: the client learns the path's MTU from the balancer."""
    add(fresh, way)
    lab = fresh.lab
    (route,) = json.loads(lab.run(way.host, ["ip", f"-{way.inner}", "-j", "route", "show", "default"]).stdout)
    prefix = "default" if way.inner == 4 else "::/0"
    plain = f"{prefix} via {route['gateway']} dev eth0"
    forget_paths(fresh)
    advmss = next(metric["advmss"] for metric in route["metrics"] if "advmss" in metric)
    lab.configure(way.host, f"route replace {plain}")
    body = lab.folder / "body"
    body.write_bytes(bytes(1_000_000))
    try:
        assert fetch(fresh, way, "-H", "Expect:", "--data-binary", f"@{body}") == "1000000\n"
        cached = lab.run("client", ["ip", "route", "get", str(VIPS[way.inner])]).stdout
        overhead = {4: 20, 6: 40}[way.outer] + (8 if way.forward is Forward.GUE else 0)
        assert f"mtu {1500 - overhead} " in cached
    finally:
        lab.configure(way.host, f"route replace {plain} advmss {advmss}")
        forget_paths(fresh)


@pytest.mark.parametrize("family", [4, 6])
def test_the_vip_is_pinged(fresh: Balancer, family: int) -> None:
    add(fresh, Way("dr1", Forward.DR, family, family))
    fresh.lab.run("client", ["ping", "-c", "3", "-i", "0.2", "-W", "1", str(VIPS[family])])


def test_both_vips_and_all_forwards_at_once(fresh: Balancer) -> None:
    for inner in (4, 6):
        way = Way(TUNNELLED, Forward.IPIP, inner, inner)
        add(fresh, way)
        join(fresh, Way("dr1", Forward.DR, inner, inner))
        answers = {fetch(fresh, way).split()[0] for _ in range(30)}
        assert answers == {"dr1", TUNNELLED}


@pytest.mark.parametrize("family", [4, 6])
def test_the_balancer_itself_is_reached_as_before(fresh: Balancer, family: int) -> None:
    add(fresh, Way("dr1", Forward.DR, family, family))
    fresh.lab.configure("router", "neigh flush dev segment")
    fresh.lab.run("client", ["ping", "-c", "3", "-i", "0.2", "-W", "1", str(HOSTS[family]["balancer"])])


def test_a_silent_backend_of_ipv6_is_not_sent_to_and_says_why(fresh: Balancer) -> None:
    way = Way("dr1", Forward.DR, 6, 6)
    fresh.cli("vip", "add", way.key())
    fresh.cli("backend", "add", way.key(), "2001:db8::99")
    said = "2001:db8::99 does not answer neighbour discovery on eth0"
    until(lambda: fresh.ask("backend", "show", way.key(), "2001:db8::99")["status"]["reason"] == said)
