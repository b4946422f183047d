# SPDX-License-Identifier: Apache-2.0
"""What routers and backends say by ICMP of packets of NAT, in both families, and backends that are clients of VIPs."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator

import pytest

from tests.waiting import until
from xdplb.net import ethtool
from xdplb.net.lab import ADDRESSES, Lab
from xdplb.net.lab_hosts import forward_packets

from .both_families import BOTH, SERVICE, Family, fetch
from .conftest import new_lab
from .mirror_service import body
from .test_traffic_nat import NatBalancer, reply_by_balancer

HOSTS = ("dr1", "dr2")
SERVED, CLOSED = 8080, 8099
SIZE = 300_000
NARROW = 1400
OTHER = "203.0.113.11"
FAMILIES = pytest.mark.parametrize("family", BOTH, ids=lambda family: f"IPv{family.version}")

REFUSED = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as client:
    client.settimeout(10)
    client.connect((sys.argv[1], int(sys.argv[2])))
    client.send(b"is anybody there")
    try:
        client.recv(100)
    except OSError as error:
        print(error.errno)
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[NatBalancer]:
    """A balancer with two NICs, two backends by the one and a third by the other, which all reply through it."""
    with new_lab() as lab:
        balancer = NatBalancer(lab)
        lab.inside("balancer", forward_packets)
        for host in (*HOSTS, "side"):
            lab.inside(host, lambda: ethtool.finish_checksums("eth0"))
            balancer.services[host] = lab.popen(host, [sys.executable, SERVICE, host, str(SERVED)])
            asked = ["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{SERVED}/1"]
            until(lambda host=host, asked=asked: lab.run(host, asked, check=False).returncode == 0)  # type: ignore[misc]
        reply_by_balancer(balancer, "balancer")
        lab.configure("side", f"route replace {ADDRESSES['dr1']} via 10.0.2.1")
        lab.configure("dr1", f"route add {OTHER} via {ADDRESSES['balancer']}")
        balancer.start(nics=("eth0", "eth1"))
        yield balancer


@pytest.fixture
def nat(shared: NatBalancer) -> Iterator[NatBalancer]:
    """The shared balancer, without a VIP."""
    yield shared
    shared.remove_vips()


@FAMILIES
def test_the_backend_that_sends_too_much_is_told_so(nat: NatBalancer, family: Family) -> None:
    """The router takes less than both ends think, and tells the VIP: without that, a download would hang."""
    lab = nat.lab
    nat.add_nat(*HOSTS, key=family.key(), port=SERVED, addresses=family.addresses)
    lab.configure("router", f"link set client mtu {NARROW}")
    try:
        for host in HOSTS:
            lab.run(host, ["ip", f"-{family.version}", "route", "flush", "cache"])
        served: set[str] = set()
        while served != set(HOSTS):
            name, got = fetch(nat, family, str(SIZE))
            assert got == body(SIZE)
            served.add(name)
            assert {host for host in HOSTS if knows_narrow_path(lab, family, host)} == served
    finally:
        lab.configure("router", "link set client mtu 1500")


def knows_narrow_path(lab: Lab, family: Family, host: str) -> bool:
    """Whether a backend has been told how much the way to the client takes."""
    return f"mtu {NARROW}" in lab.run(host, ["ip", "route", "get", str(family.addresses["client"])]).stdout


@FAMILIES
def test_a_client_is_told_that_a_backend_refuses_its_datagram(nat: NatBalancer, family: Family) -> None:
    """The backend's kernel says so of its own address and port: the client's knows it of the VIP."""
    nat.add_nat(*HOSTS, key=family.key(53, "udp"), port=CLOSED, addresses=family.addresses)
    argv = [sys.executable, "-c", REFUSED, str(family.vip), "53"]
    told = nat.lab.run("client", argv, timeout=60).stdout
    assert told.split() == [str(errno.ECONNREFUSED)]


def test_a_backend_may_be_a_client_of_a_vip_whose_backends_are_on_another_network(nat: NatBalancer) -> None:
    nat.add_nat("dr1", key=BOTH[0].key(), port=SERVED)
    nat.add_nat("side", key=f"{OTHER}:80/tcp", port=SERVED)
    argv = ["curl", "-sSf", "--max-time", "20", "-o", "/dev/null", "-D", "-", f"http://{OTHER}/1"]
    assert "X-Backend: side" in nat.lab.run("dr1", argv, timeout=60).stdout
