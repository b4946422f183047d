# SPDX-License-Identifier: Apache-2.0
"""Checks by the traffic's own way: what is wrong with the VIP on a backend turns that down, and says what it may be."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import until
from xdplb.client import Client, vip_path
from xdplb.model.address import IPAddress, parse_address
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, VIP6

from .balancer import KEY, PORT, UDP_KEY, Balancer

CHECK = {"type": "tcp", "interval_seconds": 0.1, "timeout_seconds": 1, "fall": 2}
OTHER = parse_address("203.0.113.20")
OTHER_KEY = f"{OTHER}:{PORT}/tcp"
KEY6 = f"[{VIP6}]:{PORT}/tcp"
LISTEN = "import socket, sys; listening = socket.create_server((sys.argv[1], 80)); input()"


def declare(
    balancer: Balancer, key: str, *backends: tuple[str, IPAddress], check: Mapping[str, object] = CHECK
) -> None:
    """Have a VIP with this check and these backends, each with its way of forwarding."""
    wanted = [{"address": str(address), "forward": forward} for forward, address in backends]
    with Client(socket_path=str(balancer.socket)) as client:
        client.change("PUT", vip_path(key), {"health_check": check, "backends": wanted})


def health(balancer: Balancer, address: IPAddress, key: str = KEY) -> tuple[str, str]:
    """Return a backend's health, and why it is used as it is."""
    with Client(socket_path=str(balancer.socket)) as client:
        status = client.backends.get(key, str(address)).json()["status"]
    return status["health"], status["reason"]


def becomes(balancer: Balancer, state: str, address: IPAddress, key: str = KEY) -> str:
    """Wait until a backend has this health, and is used so; return the reason, which there is if it is down."""
    until(lambda: (now := health(balancer, address, key))[0] == state and (state == "up" or now[1] != ""), 30)
    return health(balancer, address, key)[1]


@contextmanager
def listening_on(balancer: Balancer, host: str, address: IPAddress) -> Iterator[None]:
    """Have a host's service listen on one address alone."""
    balancer.kill_service(host)
    service = balancer.lab.popen(host, [sys.executable, "-c", LISTEN, str(address)], stdin=-1)
    try:
        yield
    finally:
        service.kill()
        service.wait()
        balancer.serve(host)


def test_each_fault_turns_its_backend_down_with_the_right_words(ready: Balancer) -> None:
    balancer, lab = ready, ready.lab
    dr, listener, ipip, gue = (ADDRESSES[host] for host in ("dr1", "dr2", "ipip1", "ipip2"))
    side = ADDRESSES["side"]
    declare(balancer, KEY, ("dr", dr), ("dr", listener), ("dr", side), ("ipip", ipip), ("gue", gue))
    for address in (dr, listener, side, ipip, gue):
        becomes(balancer, "up", address)
    lab.configure("dr1", f"address del {VIP}/32 dev lo")
    balancer.decap("ipip1", "down")
    balancer.decap("ipip2", "down")
    lab.inside("side", lambda: Path("/proc/sys/net/ipv4/conf/eth0/rp_filter").write_text("1"))
    # What the VIP answers leaves by another NIC than what comes for it: that is what a strict rp_filter drops.
    lab.configure("side", "route add default via 10.0.3.1 dev eth1 table 100", f"rule add from {VIP} lookup 100")
    with listening_on(balancer, "dr2", listener):
        off, unheard, wrapped, in_gue = (becomes(balancer, "down", address) for address in (dr, side, ipip, gue))
        # It refused all connections for a moment: the words follow what it does.
        until(lambda: "answers at" in health(balancer, listener)[1])
        refused = becomes(balancer, "down", listener)
    start = f"its check failed: answers at {{}}:{PORT}, but not for {VIP}:{PORT} by {{}}: "
    silent = start + "is the VIP on its lo"
    assert off.startswith(silent.format(dr, "dr"))
    assert f"`xdplb backend-host show {VIP} --forward dr` there tells" in off
    assert unheard.startswith(silent.format(side, "dr") + ", does rp_filter let it in?")
    assert wrapped.startswith(silent.format(ipip, "ipip") + ", does it unwrap")
    assert in_gue.startswith(silent.format(gue, "gue") + ", does it unwrap")
    assert refused.startswith(start.format(listener, "dr") + "does its service listen on")
    assert "connection refused" in refused
    lab.configure("dr1", f"address add {VIP}/32 dev lo")
    lab.configure("side", f"rule del from {VIP} lookup 100")
    for host in ("ipip1", "ipip2"):
        balancer.decap(host, "up")
    for address in (dr, listener, side, ipip, gue):
        becomes(balancer, "up", address)


def test_a_vip_on_the_balancers_own_lo_is_checked_on_the_backends(ready: Balancer) -> None:
    balancer, lab = ready, ready.lab
    addresses = ADDRESSES["dr1"], ADDRESSES["ipip1"]
    lab.configure("balancer", f"address add {VIP}/32 dev lo")
    declare(balancer, KEY, *zip(("dr", "ipip"), addresses, strict=True))
    for address in addresses:
        becomes(balancer, "up", address)
    lab.configure("dr1", f"address del {VIP}/32 dev lo")
    assert "not for" in becomes(balancer, "down", addresses[0])
    assert health(balancer, addresses[1])[0] == "up"
    lab.configure("dr1", f"address add {VIP}/32 dev lo")
    becomes(balancer, "up", addresses[0])
    lab.configure("balancer", f"address del {VIP}/32 dev lo")


def test_two_vips_of_the_same_backend_are_checked_each_by_itself(ready: Balancer) -> None:
    balancer, lab, address = ready, ready.lab, ADDRESSES["dr1"]
    for key in (KEY, OTHER_KEY):
        declare(balancer, key, ("dr", address))
    becomes(balancer, "up", address)
    assert f"not for {OTHER}:{PORT} by dr" in becomes(balancer, "down", address, OTHER_KEY)
    lab.configure("dr1", f"address add {OTHER}/32 dev lo")
    becomes(balancer, "up", address, OTHER_KEY)
    assert health(balancer, address)[0] == "up"
    lab.configure("dr1", f"address del {OTHER}/32 dev lo")


def test_tunnels_of_both_families_and_mixed(ready: Balancer) -> None:
    """Half of these ways are mixed: a VIP of IPv4 on a backend with an address of IPv6, and the other way round."""
    balancer, lab = ready, ready.lab
    forwards = {"ipip1": "ipip", "ipip2": "gue"}
    ways: list[tuple[str, IPAddress]] = []
    for key in (KEY, KEY6):
        backends = [(forward, each[host]) for host, forward in forwards.items() for each in (ADDRESSES, ADDRESSES6)]
        declare(balancer, key, *backends)
        ways += [(key, address) for _, address in backends]
    for host in forwards:
        lab.configure(host, f"address add {VIP6}/128 dev lo nodad")
    for key, address in ways:
        becomes(balancer, "up", address, key)
    for host in forwards:
        lab.configure(host, f"address del {VIP}/32 dev lo", f"address del {VIP6}/128 dev lo")
    for key, address in ways:
        assert "does it unwrap" in becomes(balancer, "down", address, key)
    for host in forwards:
        lab.configure(host, f"address add {VIP}/32 dev lo", f"address add {VIP6}/128 dev lo nodad")
    for key, address in ways:
        becomes(balancer, "up", address, key)
    balancer.cli("vip", "rm", KEY6)
    for host in forwards:
        lab.configure(host, f"address del {VIP6}/128 dev lo")


def test_of_a_prefix_the_first_address_is_asked(ready: Balancer) -> None:
    balancer, key, address = ready, f"203.0.113.32/28:{PORT}/tcp", ADDRESSES["dr1"]
    declare(balancer, key, ("dr", address))
    assert f"not for 203.0.113.32:{PORT} by dr" in becomes(balancer, "down", address, key)
    balancer.backend_host("dr1", "setup", key, "--forward", "dr", "--interface", "eth0")
    becomes(balancer, "up", address, key)
    assert f"203.0.113.32:{PORT} by dr" in balancer.cli("health", "ls", key, "-o", "wide").stdout
    balancer.backend_host("dr1", "undo", key)
    balancer.cli("vip", "rm", key)


def test_datagrams_are_asked_by_the_vips_way_too(ready: Balancer) -> None:
    """The service answers datagrams for the VIP alone."""
    balancer = ready
    check = {"type": "udp", "send": "ping", "interval_seconds": 0.1}
    backends = ("dr", ADDRESSES["dr1"]), ("gue", ADDRESSES["ipip2"])
    declare(balancer, UDP_KEY, *backends, check=check)
    for host in ("dr1", "ipip2"):
        becomes(balancer, "up", ADDRESSES[host], UDP_KEY)
    assert "passed" in balancer.cli("health", "probe", UDP_KEY, str(ADDRESSES["dr1"])).stdout
    assert f"{VIP}:{PORT} by gue" in balancer.cli("health", "ls", UDP_KEY, "-o", "wide").stdout
    declare(balancer, UDP_KEY, *backends, check={**check, "target": "backend"})
    becomes(balancer, "down", ADDRESSES["dr1"], UDP_KEY)


def test_the_programs_outlive_kill_9_and_others_who_remove_them(ready: Balancer) -> None:
    balancer, lab = ready, ready.lab
    declare(balancer, KEY, ("dr", ADDRESSES["dr1"]))
    becomes(balancer, "up", ADDRESSES["dr1"])
    lab.run("balancer", ["tc", "qdisc", "del", "dev", "eth0", "clsact"])
    shown = ["tc", "filter", "show", "dev", "eth0", "egress"]
    until(lambda: "probe_out" in lab.run("balancer", shown).stdout)
    until(lambda: "another process has removed the tc programs of probes from eth0" in balancer.log())
    before = lab.run("balancer", shown).stdout
    balancer.kill()
    balancer.start(nics=("eth0", "eth1"))
    lab.configure("dr1", f"address del {VIP}/32 dev lo")
    assert "not for" in becomes(balancer, "down", ADDRESSES["dr1"])
    assert lab.run("balancer", shown).stdout == before
    lab.configure("dr1", f"address add {VIP}/32 dev lo")
    balancer.cli("vip", "rm", KEY)
    until(lambda: "clsact" not in lab.run("balancer", ["tc", "qdisc", "show", "dev", "eth0"]).stdout)
