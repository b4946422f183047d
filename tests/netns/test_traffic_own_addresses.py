# SPDX-License-Identifier: Apache-2.0
"""VIPs on the balancer's own addresses: its checks and tunnels leave from others, and its own connections go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.waiting import until
from xdplb.model.address import IPAddress, parse_address
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP

from .balancer import KEY, PORT, Balancer
from .capture import captured, tunnel_sources

CHECK = ["--check", "tcp", "--check-interval", "100ms", "--check-timeout", "500ms"]
OWN = ADDRESSES["balancer"]
VIP6 = parse_address("2001:db8::10")  # in the segment of the balancer, which so takes it as a source of its own


def status(balancer: Balancer, key: str, address: IPAddress) -> dict[str, Any]:
    found: dict[str, Any] = balancer.ask("backend", "show", key, str(address))["status"]
    return found


def serves(balancer: Balancer, key: str, address: IPAddress, checks: int = 3) -> None:
    """Wait until the backend is up, and for a few checks more; it must stay up."""
    until(lambda: status(balancer, key, address)["health"] == "up")
    passes = passed(balancer, key)
    until(lambda: passed(balancer, key) >= passes + checks)
    assert status(balancer, key, address)["health"] == "up"


def passed(balancer: Balancer, key: str) -> int:
    """Return how many checks of the VIP's backends have passed."""
    results = balancer.ask("health", "ls", key)["checks"][0]["status"]["backends"]
    return sum(result["passes"] for result in results)


def fetch(balancer: Balancer, vip: IPAddress) -> str:
    host = f"[{vip}]" if vip.version == 6 else str(vip)
    return balancer.lab.run("client", ["curl", "-gsSf", "--max-time", "5", f"http://{host}:{PORT}/"]).stdout


def asked_from(balancer: Balancer, vip: IPAddress, backend: IPAddress) -> str:
    """Return the source that the kernel would take for a connection to this backend."""
    family = "-6" if vip.version == 6 else "-4"
    route = json.loads(balancer.lab.run("balancer", ["ip", family, "-j", "route", "get", str(backend)]).stdout)
    return str(route[0]["prefsrc"])


@pytest.mark.parametrize("length", [64, 128])
def test_checks_do_not_leave_from_an_ipv6_vip_on_the_nic(balancer: Balancer, length: int) -> None:
    backend, key = ADDRESSES6["dr1"], f"[{VIP6}]:{PORT}/tcp"
    balancer.backend_host("dr1", "setup", str(VIP6), "--forward", "dr", "--interface", "eth0")
    balancer.serve("dr1", VIP6)
    balancer.start()
    balancer.cli("vip", "add", key, *CHECK)
    balancer.cli("backend", "add", key, str(backend))
    serves(balancer, key, backend)
    balancer.lab.configure("balancer", f"address add {VIP6}/{length} dev eth0")
    balancer.lab.run("balancer", ["ip", "-6", "route", "replace", "2001:db8::/64", "dev", "eth0", "src", str(VIP6)])
    assert asked_from(balancer, VIP6, backend) == str(VIP6)
    serves(balancer, key, backend)
    assert fetch(balancer, VIP6) == f"dr1 {ADDRESSES6['client']}\n"


@pytest.mark.parametrize("host", ["dr1", "ipip1"])
def test_checks_and_tunnels_do_not_leave_from_a_vip_that_a_route_names(balancer: Balancer, host: str) -> None:
    balancer.lab.configure("balancer", f"address add {VIP}/32 dev eth0")
    balancer.lab.run("balancer", ["ip", "route", "replace", "10.0.0.0/24", "dev", "eth0", "src", str(VIP)])
    balancer.lab.run("balancer", ["ip", "route", "replace", "default", "via", "10.0.0.1", "src", str(VIP)])
    balancer.prepare(host)
    balancer.start()
    balancer.cli("vip", "add", KEY, *CHECK)
    balancer.add_backend(host)
    assert asked_from(balancer, VIP, ADDRESSES[host]) == str(VIP)
    serves(balancer, KEY, ADDRESSES[host])
    with captured(balancer.lab, "router", "ipip1") as packets:
        assert fetch(balancer, VIP) == f"{host} {ADDRESSES['client']}\n"
    assert tunnel_sources(packets) == ({OWN} if host == "ipip1" else set())


def web_with_check(balancer: Balancer) -> None:
    """Have a checked VIP with dr1, which must stay up whatever other VIPs there are."""
    balancer.prepare("dr1")
    balancer.start()
    balancer.cli("vip", "add", KEY, *CHECK, "--all-unhealthy", "fail-closed")
    balancer.add_backend("dr1")
    serves(balancer, KEY, ADDRESSES["dr1"])


def reaches_out(balancer: Balancer, source: IPAddress = OWN) -> bool:
    """Return whether the balancer's own connections get answers."""
    asked = ["curl", "-sf", "--interface", str(source), "--max-time", "2", "-o", "/dev/null"]
    return balancer.lab.run("balancer", [*asked, f"http://{ADDRESSES['dr1']}/"], check=False).returncode == 0


def test_a_vip_over_the_balancer_s_own_ports_is_refused_and_harms_nothing(balancer: Balancer) -> None:
    web_with_check(balancer)
    for vip in (f"{OWN}:0/tcp", f"{OWN}:30000-40000/udp", "10.0.0.0/29:0/tcp+udp", f"[{ADDRESSES6['balancer']}]:0/tcp"):
        for words in ([], ["--dry-run"]):
            told = balancer.cli("vip", "add", vip, *words, check=False)
            assert told.returncode == 4, told
            assert f"VIP {vip} takes answers to this host's own connections" in told.stderr
            assert "use an address that this host does not send from" in told.stderr
    assert [vip["address"] for vip in balancer.ask("vip", "ls")["vips"]] == [str(VIP)]
    serves(balancer, KEY, ADDRESSES["dr1"])
    assert reaches_out(balancer)


def test_ports_that_the_host_does_not_use_may_be_a_vip_s(balancer: Balancer) -> None:
    web_with_check(balancer)
    assert balancer.cli("vip", "add", f"{OWN}:40000/tcp", check=False).returncode == 4
    balancer.lab.run("balancer", ["sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000"])
    until(lambda: balancer.cli("vip", "add", f"{OWN}:40000/tcp", check=False).returncode == 0)
    balancer.cli("vip", "add", f"{OWN}:80/tcp")
    balancer.backend_host("dr1", "setup", str(OWN), "--forward", "dr", "--interface", "eth0")
    balancer.cli("backend", "add", f"{OWN}:80/tcp", str(ADDRESSES["dr1"]))


@pytest.mark.parametrize("length", [24, 32])
def test_an_address_that_comes_later_is_told_and_the_checks_go_on(balancer: Balancer, length: int) -> None:
    late = parse_address("10.0.0.77")
    key = f"{late}:0/tcp"
    web_with_check(balancer)
    balancer.cli("vip", "add", key)
    balancer.cli("backend", "add", key, str(ADDRESSES["dr2"]))
    assert balancer.ask("status")["warnings"] == []
    balancer.lab.configure("balancer", f"address add {late}/{length} dev eth0")
    balancer.lab.run("balancer", ["ip", "route", "replace", "10.0.0.0/24", "dev", "eth0", "src", str(late)])
    assert asked_from(balancer, VIP, ADDRESSES["dr1"]) == str(late)
    until(lambda: balancer.ask("status")["warnings"] != [])
    serves(balancer, KEY, ADDRESSES["dr1"], checks=20)
    assert not reaches_out(balancer, late)
    sentence = f"VIP {key} takes answers to this host's own connections: {late} is an address of eth0"
    assert sentence in balancer.ask("status")["warnings"][0]
    assert f"warning: {sentence}" in balancer.cli("status").stderr
    assert f'vip={key} reason="{sentence}' in balancer.log()
    # With the address the kernel removes the routes that name it.
    balancer.lab.run("balancer", ["ip", "route", "replace", "10.0.0.0/24", "dev", "eth0", "src", str(OWN)])
    balancer.lab.configure("balancer", f"address del {late}/{length} dev eth0")
    until(lambda: balancer.ask("status")["warnings"] == [])
    serves(balancer, KEY, ADDRESSES["dr1"])


def test_a_daemon_that_finds_a_vip_on_the_address_it_sends_from_starts_and_checks(balancer: Balancer) -> None:
    late = parse_address("10.0.0.77")
    web_with_check(balancer)
    balancer.cli("vip", "add", f"{late}:0/tcp")
    balancer.kill()
    lines = [f"address del {OWN}/24 dev eth0", f"address add {late}/24 dev eth0", f"address add {OWN}/24 dev eth0"]
    balancer.lab.configure("balancer", *lines, "route add default via 10.0.0.1")
    balancer.start()
    assert asked_from(balancer, VIP, ADDRESSES["dr1"]) == str(late)
    assert f"VIP {late}:0/tcp takes answers" in balancer.ask("status")["warnings"][0]
    serves(balancer, KEY, ADDRESSES["dr1"])


def test_a_host_with_no_other_address_says_so_and_gives_up_no_backend(balancer: Balancer) -> None:
    balancer.prepare("dr1")
    balancer.backend_host("dr1", "setup", str(OWN), "--forward", "dr", "--interface", "eth0")
    balancer.start()
    key = f"{OWN}:80/tcp"
    balancer.lab.configure("balancer", "address del 10.0.2.1/24 dev eth1")
    told = balancer.cli("vip", "add", key, *CHECK)
    sentence = f"this host can send only from {OWN}, the address of VIP {key}"
    assert f"warning: {sentence}" in told.stderr
    balancer.cli("backend", "add", key, str(ADDRESSES["dr1"]))
    until(lambda: "cannot be checked now" in status(balancer, key, ADDRESSES["dr1"])["reason"])
    reason = status(balancer, key, ADDRESSES["dr1"])["reason"]
    assert f"checks would leave from {OWN}, which is the address of VIP {key}" in reason
    balancer.lab.configure("balancer", "address add 10.0.0.3/24 dev eth0")
    serves(balancer, key, ADDRESSES["dr1"])
    balancer.lab.configure("balancer", "address del 10.0.0.3/24 dev eth0")
    until(lambda: "cannot be checked now" in status(balancer, key, ADDRESSES["dr1"])["reason"])
    assert status(balancer, key, ADDRESSES["dr1"])["health"] == "up"
    assert f"dr1 {ADDRESSES['client']}" in fetch(balancer, OWN)


def test_backends_are_not_asked_for_their_mac_from_the_vip(balancer: Balancer) -> None:
    """Without checks nothing but the kernel's ARP finds the backend, and the VIP is the first address on the NIC."""
    vip = parse_address("10.0.0.77")
    key = f"{vip}:80/tcp"
    lines = [f"address del {OWN}/24 dev eth0", f"address add {vip}/24 dev eth0", f"address add {OWN}/24 dev eth0"]
    balancer.lab.configure("balancer", *lines, "route add default via 10.0.0.1")
    balancer.backend_host("dr1", "setup", str(vip), "--forward", "dr", "--interface", "eth0")
    balancer.serve("dr1", vip)
    balancer.start()
    balancer.cli("vip", "add", key)
    balancer.cli("backend", "add", key, str(ADDRESSES["dr1"]))
    until(lambda: status(balancer, key, ADDRESSES["dr1"])["share"] == 1.0, seconds=5)
    assert fetch(balancer, vip) == f"dr1 {ADDRESSES['client']}\n"
