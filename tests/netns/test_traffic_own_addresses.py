"""VIPs on the balancer's own addresses: its checks and tunnels leave from others, and its own connections go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xdplb.model.address import IPAddress, parse_address
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP

from .balancer import KEY, PORT, Balancer, until
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
    results = balancer.ask("health", "ls", key)["status"]["backends"]
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
