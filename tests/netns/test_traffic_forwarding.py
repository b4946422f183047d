# SPDX-License-Identifier: Apache-2.0
"""Packets through the VIP reach the backends they should, by DR and by IPIP, and nothing else is touched."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from ipaddress import IPv4Network

import pytest

from xdplb.net.lab import ADDRESSES, VIP

from .balancer import PORT, UDP_KEY, Balancer
from .capture import captured, tunnel_sources

ECHO = """
import socket, sys
for _ in range(int(sys.argv[3])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((sys.argv[1], int(sys.argv[2])))
        client.send(b"hello")
        print(client.recv(100).decode())
"""


def udp_answers(balancer: Balancer, count: int) -> list[str]:
    """Send that many datagrams to the VIP, each from a port of its own; return what comes back from it."""
    command = [sys.executable, "-c", ECHO, str(VIP), str(PORT), str(count)]
    return balancer.lab.run("client", command).stdout.splitlines()


def test_connections_are_spread_by_weight_over_dr_and_ipip(ready: Balancer) -> None:
    weights = {"dr1": 1, "dr2": 3, "ipip1": 1, "ipip2": 3}
    ready.add(*weights, weights=weights)
    for host, weight in weights.items():
        assert ready.status(host)["share"] == pytest.approx(weight / 8, abs=1 / 65537)
    counts = ready.get(800)
    assert counts.keys() == weights.keys()
    for host, weight in weights.items():
        assert abs(counts[host] - 100 * weight) < 70, counts


@pytest.mark.parametrize("host", ["dr1", "ipip1", "side"])
def test_the_backend_sees_the_client_s_own_address(ready: Balancer, host: str) -> None:
    ready.add(host)
    assert ready.text() == f"{host} {ADDRESSES['client']}\n"


@pytest.mark.parametrize("host", ["dr1", "ipip1", "side"])
def test_an_upload_of_full_segments_arrives(ready: Balancer, host: str) -> None:
    ready.add(host)
    body = ready.lab.folder / "body"
    body.write_bytes(bytes(3_000_000))
    assert ready.text("-H", "Expect:", "--data-binary", f"@{body}") == "3000000\n"


def test_a_backend_behind_the_second_nic_is_redirected_to(ready: Balancer) -> None:
    ready.add("dr1", "side")
    assert ready.get(100).keys() == {"dr1", "side"}
    assert (ready.status("side")["interface"], ready.status("dr1")["interface"]) == ("eth1", "eth0")


def test_udp_goes_to_the_backends_and_answers_come_from_the_vip(ready: Balancer) -> None:
    ready.add("dr1", "ipip1", key=UDP_KEY)
    answers = Counter(udp_answers(ready, 60))
    assert answers.keys() == {"dr1 hello", "ipip1 hello"}
    assert min(answers.values()) > 10


def test_the_outer_source_is_the_balancer_s_own_address(ready: Balancer) -> None:
    ready.add("ipip1")
    with captured(ready.lab, "router", "ipip1") as packets:
        ready.get(20)
    assert tunnel_sources(packets) == {ADDRESSES["balancer"]}


def test_the_outer_source_varies_by_flow_where_asked_for(balancer: Balancer) -> None:
    balancer.prepare("ipip1")
    balancer.start("--ipip-source", "10.200.0.0/16")
    balancer.add("ipip1")
    with captured(balancer.lab, "router", "ipip1") as packets:
        balancer.get(40)
    sources = tunnel_sources(packets)
    assert len(sources) > 30
    assert all(source in IPv4Network("10.200.0.0/16") for source in sources)


def test_the_balancer_itself_is_reached_as_before(ready: Balancer) -> None:
    ready.add("dr1")
    lab = ready.lab
    lab.configure("router", "neigh flush dev segment")
    lab.run("client", ["ping", "-c", "3", "-i", "0.2", "-W", "1", str(ADDRESSES["balancer"])])
    service = [sys.executable, "-m", "http.server", "--bind", str(ADDRESSES["balancer"]), "80"]
    server = lab.popen("balancer", service, cwd=lab.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked = ["curl", "-sf", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "-o", "/dev/null"]
    lab.run("client", [*asked, f"http://{ADDRESSES['balancer']}/"])
    server.terminate()


def test_a_port_of_the_vip_that_nobody_asked_for_is_not_balanced(ready: Balancer) -> None:
    ready.add("dr1")
    asked = ["curl", "-s", "--max-time", "1", f"http://{VIP}:81/"]
    assert ready.lab.run("client", asked, check=False).returncode != 0
    assert ready.status("dr1")["health"] == "up"


def test_in_skb_mode_it_works_the_same(balancer: Balancer) -> None:
    balancer.prepare("dr1", "ipip1")
    balancer.start("--mode", "skb")
    balancer.add("dr1", "ipip1")
    assert balancer.get(60).keys() == {"dr1", "ipip1"}
    assert balancer.mode() == "skb"


def test_ipip_where_the_host_unwraps_by_decap_alone(ready: Balancer) -> None:
    ready.backend_host("ipip1", "undo", str(VIP))
    ready.lab.configure("ipip1", f"address add {VIP}/32 dev lo")
    try:
        ready.cli("vip", "add", f"{VIP}:{PORT}/tcp")
        ready.add_backend("ipip1")
        asked = ["curl", "-s", "--max-time", "1", f"http://{VIP}/"]
        assert ready.lab.run("client", asked, check=False).returncode != 0
        ready.decap("ipip1", "up")
        assert ready.text() == f"ipip1 {ADDRESSES['client']}\n"
        ready.decap("ipip1", "down")
        assert ready.lab.run("client", asked, check=False).returncode != 0
    finally:
        ready.lab.configure("ipip1", f"address del {VIP}/32 dev lo")
        ready.backend_host("ipip1", "setup", str(VIP), "--forward", "ipip")
