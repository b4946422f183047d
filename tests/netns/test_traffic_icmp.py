# SPDX-License-Identifier: Apache-2.0
"""Ping of a VIP, and what routers tell a VIP about packets of its connections, with real routers in both families."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xdplb.net.lab import Lab

from .balancer import Balancer
from .both_families import BOTH, Family, add_vip, answers, fetch, prepare, remove_vips
from .conftest import new_lab
from .mirror_service import body

BACKENDS = ["dr1", "dr2"]
PROBED_PORT = 33434
SIZE = 300_000
NARROW = 1400
FAMILIES = pytest.mark.parametrize("family", BOTH, ids=lambda family: f"IPv{family.version}")

PROBED = """
import json, socket, struct, sys, time

address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
family, level, errors, hops = (
    (socket.AF_INET6, socket.IPPROTO_IPV6, 25, socket.IPV6_UNICAST_HOPS)
    if ":" in address
    else (socket.AF_INET, socket.SOL_IP, 11, socket.IP_TTL)
)
told = []
with socket.socket(family, socket.SOCK_DGRAM) as probed:
    probed.setsockopt(level, errors, 1)
    probed.setsockopt(level, hops, 1)
    probed.bind((address, port))
    probed.settimeout(0.05)
    print("bound", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            _, client = probed.recvfrom(100)
        except OSError:  # nothing came, or an error did, which is read below
            client = None
        while client:
            try:
                probed.sendto(b"as far as the first router", client)
                client = None
            except OSError:  # about another one before it
                pass
        try:
            _, ancillary, _, client = probed.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
            _, origin, kind, code = struct.unpack_from("=IBBB", ancillary[0][2])
            told.append([client[1], origin, kind, code])
        except OSError:
            pass
print(json.dumps(told))
"""

PROBE = """
import socket, sys
for port in range(int(sys.argv[3]), int(sys.argv[4])):
    family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.bind(("", port))
        client.sendto(b"probe", (sys.argv[1], int(sys.argv[2])))
"""

TIME_EXCEEDED = {4: [2, 11, 0], 6: [3, 3, 0]}
"""Where it comes from (SO_EE_ORIGIN_ICMP or ICMP6), type and code."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Balancer]:
    """A balancer with two backends by DR and one behind a tunnel."""
    with new_lab() as lab:
        balancer = Balancer(lab)
        for host in BACKENDS:
            prepare(balancer, host, "dr")
        prepare(balancer, "ipip1", "ipip")
        lab.inside("router", tell_everything)
        balancer.start()
        yield balancer


@pytest.fixture
def ready(shared: Balancer) -> Iterator[Balancer]:
    """The same without VIPs."""
    yield shared
    remove_vips(shared)


def tell_everything() -> None:
    """Have a router tell of each packet, not of one a second."""
    for setting in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
        Path(f"/proc/sys/net/{setting}").write_text("0")


def ping(balancer: Balancer, family: Family, *options: str) -> subprocess.CompletedProcess[str]:
    """Ping the VIP from the client, five times."""
    argv = ["ping", "-n", "-c", "5", "-i", "0.2", "-W", "2", *options, str(family.vip)]
    return balancer.lab.run("client", argv, check=False)


@FAMILIES
@pytest.mark.parametrize("size", ["0", "56", "1400"])
def test_a_vip_is_pinged_though_no_host_here_has_it(ready: Balancer, family: Family, size: str) -> None:
    """The balancer has no such address: it is XDP that answers, without a backend too."""
    ready.cli("vip", "add", family.key())
    addresses = ready.lab.run("balancer", ["ip", "-o", "address"]).stdout
    assert str(family.vip) not in addresses
    before = answers(ready, "echo")
    answered = ping(ready, family, "-s", size)
    assert "5 received, 0% packet loss" in answered.stdout
    assert answers(ready, "echo") == before + 5


@FAMILIES
def test_without_a_vip_nobody_answers(ready: Balancer, family: Family) -> None:
    ready.cli("vip", "add", family.key())
    assert ping(ready, family).returncode == 0
    ready.cli("vip", "rm", family.key())
    assert ping(ready, family).returncode != 0


@FAMILIES
def test_the_balancer_s_own_address_is_its_own_to_answer(ready: Balancer, family: Family) -> None:
    ready.cli("vip", "add", family.key())
    before = answers(ready, "echo")
    argv = ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", str(family.addresses["balancer"])]
    assert "0% packet loss" in ready.lab.run("client", argv).stdout
    assert answers(ready, "echo") == before


@FAMILIES
@pytest.mark.parametrize(("hosts", "forward"), [(BACKENDS, "dr"), (["ipip1"], "ipip")])
def test_the_backend_that_sends_too_much_is_told_so(
    ready: Balancer, family: Family, hosts: list[str], forward: str
) -> None:
    """The client's link takes less than both ends think: the router tells the VIP, and downloads come whole.

    One whose backend was not told would hang. Each backend is told of its own connections only.
    """
    lab = ready.lab
    lab.configure("router", f"link set client mtu {NARROW}")
    try:
        add_vip(ready, family, hosts, forward)
        for host in hosts:
            lab.run(host, ["ip", f"-{family.version}", "route", "flush", "cache"])
        served: set[str] = set()
        while served != set(hosts):
            name, got = fetch(ready, family, str(SIZE))
            assert got == body(SIZE)
            served.add(name)
            for host in hosts:
                assert knows_narrow_path(lab, family, host) == (host in served)
    finally:
        lab.configure("router", "link set client mtu 1500")


def knows_narrow_path(lab: Lab, family: Family, host: str) -> bool:
    """Whether a backend has been told how much the way to the client takes."""
    route = lab.run(host, ["ip", "route", "get", str(family.addresses["client"]), "from", str(family.vip)]).stdout
    return f"mtu {NARROW}" in route


@FAMILIES
def test_an_error_reaches_the_backend_it_is_about(ready: Balancer, family: Family) -> None:
    """Datagrams from many ports, answered by packets that die at the router: what it says goes to their sender."""
    key = family.key(PROBED_PORT, "udp")
    add_vip(ready, family, BACKENDS, "dr", key=key)
    ports = range(40000, 40040)
    probed = [probe_receiver(ready.lab, host, family) for host in BACKENDS]
    argv = [sys.executable, "-c", PROBE, str(family.vip), str(PROBED_PORT), str(ports.start), str(ports.stop)]
    ready.lab.run("client", argv)
    told = [json.loads(process.communicate(timeout=30)[0]) for process in probed]
    assert all(len(each) > 5 for each in told)
    assert sorted(port for each in told for port, *_ in each) == list(ports)
    assert all(kind == TIME_EXCEEDED[family.version] for each in told for _, *kind in each)


def probe_receiver(lab: Lab, host: str, family: Family) -> subprocess.Popen[Any]:
    """Start on a backend what answers with packets that get to the first router; it then says of which it was told."""
    argv = [sys.executable, "-c", PROBED, str(family.vip), str(PROBED_PORT), "5"]
    process = lab.popen(host, argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "bound\n"
    return process
