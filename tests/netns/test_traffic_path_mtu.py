# SPDX-License-Identifier: Apache-2.0
"""A router behind the balancer that takes less than the balancer's own NIC: only its ICMP says so, to the balancer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.waiting import until
from xdplb.model.vip import Forward
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, VIP6, Lab

from .balancer import Balancer
from .both_families import BOTH, fetch, prepare, remove_vips
from .conftest import new_lab
from .mirror_service import body
from .test_traffic_families import TUNNELLED, TUNNELS, Way
from .test_traffic_mtu import ask_for_full_segments, forget

BARE = "ipip2"  # nothing unwraps packets there
SIZE = 20_000
PATH = {4: 1300, 6: 1340}
"""By the version inside: IPv6 needs 1280 bytes and the outer headers."""

every_tunnel = pytest.mark.parametrize("way", TUNNELS, ids=str)


@pytest.fixture(scope="module")
def narrow() -> Iterator[Balancer]:
    """A balancer, and a host behind the router that takes packets of every tunnel."""
    with new_lab() as lab:
        balancer = Balancer(lab)
        for way in TUNNELS:
            vip = VIP if way.inner == 4 else VIP6
            options = ["--outer", f"ipv{way.outer}", "--interface", "eth0"]
            balancer.backend_host(TUNNELLED, "setup", str(vip), "--forward", way.forward, *options)
        prepare(balancer, TUNNELLED, Forward.IPIP)
        ask_for_full_segments(lab, TUNNELLED)
        balancer.start()
        yield balancer


@pytest.fixture
def client(narrow: Balancer) -> Iterator[Balancer]:
    """The same, with a path of 1500 bytes, without VIPs, and with a client that has learnt nothing yet."""
    forget(narrow.lab)
    yield narrow
    set_path(narrow.lab, 1500)
    remove_vips(narrow)


def set_path(lab: Lab, mtu: int) -> None:
    """Set what fits between the router and the hosts behind it."""
    lab.configure("router", f"link set tunnels mtu {mtu}")


def address_of(way: Way, host: str) -> str:
    """Return a host's address in the family of the way's outer header."""
    return str(ADDRESSES[host] if way.outer == 4 else ADDRESSES6[host])


def add(balancer: Balancer, way: Way, host: str = TUNNELLED) -> None:
    """Add the way's VIP with one backend, and wait until it serves."""
    balancer.cli("vip", "add", way.key())
    balancer.cli("backend", "add", way.key(), address_of(way, host), "--forward", way.forward)
    until(lambda: status(balancer, way, host)["share"] > 0)
    assert status(balancer, way, host)["path_mtu"] is None  # what it learnt was forgotten with its last VIP


def status(balancer: Balancer, way: Way, host: str = TUNNELLED) -> dict[str, Any]:
    found: dict[str, Any] = balancer.ask("backend", "show", way.key(), address_of(way, host))["status"]
    return found


def our_packet(**fields: object) -> Packet:
    """Return a packet of 1500 bytes as the balancer sends it through the first of the tunnels."""
    ours = {"src": str(ADDRESSES["balancer"]), "dst": str(ADDRESSES[TUNNELLED]), "len": 1500, **fields}
    return IP(flags="DF", id=0, **ours) / IP(src=str(ADDRESSES["client"]), dst=str(VIP)) / TCP(dport=80)


def say(balancer: Balancer, frame: Packet, times: int = 1) -> None:
    """Have the router send a frame to the balancer's MAC."""
    link = balancer.lab.run("balancer", ["cat", "/sys/class/net/eth0/address"]).stdout.strip()
    frame[Ether].dst, frame[Ether].src = link, "02:00:00:00:00:01"

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("segment", 0))
            for _ in range(times):
                raw.send(bytes(frame))

    balancer.lab.inside("router", send)


def too_big(about: Packet, mtu: int = 1400, **fields: object) -> Packet:
    """Return a router's IP packet that says that this one was too big."""
    ip = IP(**{"src": "10.0.0.1", "dst": str(ADDRESSES["balancer"]), **fields})
    return ip / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(bytes(about)[:28])


def post(balancer: Balancer, way: Way) -> bytes:
    """Have the client upload SIZE bytes; return what the backend says it got."""
    sent = balancer.lab.folder / "sent"
    sent.write_bytes(body(SIZE))
    family = next(each for each in BOTH if each.version == way.inner)
    return fetch(balancer, family, "", "--data-binary", f"@{sent}")[1]


@every_tunnel
def test_an_upload_gets_through_a_narrow_path(client: Balancer, way: Way) -> None:
    add(client, way)
    set_path(client.lab, PATH[way.inner])
    assert status(client, way)["mtu"] == 1500

    assert post(client, way) == body(SIZE)

    known = status(client, way)
    router = {4: "10.0.0.1", 6: "2001:db8::1"}[way.outer]
    assert (known["mtu"], known["path_mtu"]["mtu"], known["path_mtu"]["router"]) == (*2 * [PATH[way.inner]], router)
    assert known["path_errors"]["too_big"] >= 1
    assert known["reason"] == ""


def test_what_was_learnt_outlives_the_daemon(client: Balancer) -> None:
    way = TUNNELS[0]
    add(client, way)
    set_path(client.lab, PATH[4])
    post(client, way)
    client.kill()
    client.start()
    known = status(client, way)
    assert (known["mtu"], known["path_mtu"]["mtu"], known["path_mtu"]["router"]) == (PATH[4], PATH[4], None)
    assert known["path_errors"]["too_big"] == 0
    assert post(client, way) == body(SIZE)
    assert status(client, way)["path_errors"]["too_big"] == 0


def complaint(balancer: Balancer, way: Way, host: str = TUNNELLED) -> str:
    """Have the client try once, and return the backend's reason. Routers send few errors a second."""
    balancer.lab.run("client", ["curl", "-s", "--max-time", "1", f"http://{way.vip}/"], check=False)
    reason: str = status(balancer, way, host)["reason"]
    return reason


def answers_without_a_tunnel(way: Way) -> bool:
    """Whether Linux answers at all: it drops UDP over IPv6 whose checksum is 0, as GUE's is, without a word."""
    return way.inner == 4 and (way.forward, way.outer) != (Forward.GUE, 6)


FRAMES = {
    "untagged": Ether(),
    "tagged": Ether() / Dot1Q(vlan=7),
    "tagged twice": Ether(type=0x88A8) / Dot1Q(vlan=7) / Dot1Q(vlan=8),
}


@pytest.mark.parametrize("head", FRAMES)
def test_it_is_learnt_from_tagged_frames_too(client: Balancer, head: str) -> None:
    way = TUNNELS[0]
    add(client, way)
    say(client, FRAMES[head] / too_big(our_packet()))
    until(lambda: status(client, way)["mtu"] == 1400)


def test_it_is_learnt_where_the_tunnel_s_source_is_not_the_host_s(client: Balancer) -> None:
    """The network routes the prefix to the balancer, whose own stack knows nothing of it."""
    way = TUNNELS[0]
    client.lab.configure("router", f"route add 172.16.0.0/16 via {ADDRESSES['balancer']}")
    client.kill()
    client.start("--ipip-source", "172.16.0.0/16")
    try:
        add(client, way)
        set_path(client.lab, PATH[4])
        assert post(client, way) == body(SIZE)
        assert status(client, way)["mtu"] == PATH[4]
    finally:
        client.kill()
        client.start()
        client.lab.configure("router", f"route del 172.16.0.0/16 via {ADDRESSES['balancer']}")


def test_forged_messages_change_nothing(client: Balancer) -> None:
    """After each comes one about another backend of the VIP, so that this has been read, too."""
    way = TUNNELS[0]
    add(client, way)
    client.cli("backend", "add", way.key(), str(ADDRESSES[BARE]), "--forward", way.forward)
    ignored = sum(client.metric("xdplb_path_errors_ignored_total"))
    forged = [
        too_big(our_packet(src="10.0.0.99"), dst="10.0.0.99"),
        too_big(our_packet(), dst="10.0.0.99"),
        too_big(our_packet(dst=str(ADDRESSES["dr1"]))),
        too_big(our_packet(len=1400)),
        too_big(our_packet(len=1501)),
        too_big(our_packet(), src="127.0.0.1"),
    ]
    for packet in forged:
        say(client, Ether() / packet)
    say(client, Ether() / too_big(our_packet(dst=str(ADDRESSES[BARE]))))
    until(lambda: status(client, way, BARE)["mtu"] == 1400)
    assert (status(client, way)["mtu"], status(client, way)["path_mtu"]) == (1500, None)
    assert sum(client.metric("xdplb_path_errors_ignored_total")) == ignored + len(forged)


def test_a_flood_of_them_is_read_at_a_bounded_pace(client: Balancer) -> None:
    """More than can be read in time are dropped by the kernel; the daemon answers as before."""
    way = TUNNELS[0]
    add(client, way)
    frame = Ether() / too_big(our_packet(dst="10.9.9.9"))
    before = sum(client.metric("xdplb_path_errors_ignored_total"))
    began = time.monotonic()
    for _ in range(20):
        say(client, frame, 500)
    took = time.monotonic() - began
    read = sum(client.metric("xdplb_path_errors_ignored_total")) - before
    assert 0 < read <= 640 * (took + 2)

    def is_heard() -> bool:
        say(client, Ether() / too_big(our_packet()))  # there may be no room for it until the last of them are read
        return bool(status(client, way)["mtu"] == 1400)

    until(is_heard)


@pytest.mark.parametrize("way", [way for way in TUNNELS if answers_without_a_tunnel(way)], ids=str)
def test_a_backend_without_the_tunnel_says_so(client: Balancer, way: Way) -> None:
    """Its check, if it had one, would pass: that does not go through the tunnel."""
    add(client, way, BARE)
    until(lambda: complaint(client, way, BARE) != "")
    known = status(client, way, BARE)
    assert known["reason"].startswith("the backend rejects ")
    assert "xdplb backend-host" in known["reason"]
    assert known["path_errors"]["unreachable"] + known["path_errors"]["parameter_problem"] >= 1
    assert known["health"] == "up"


def test_a_router_without_a_way_to_the_backend_says_so(client: Balancer) -> None:
    way = TUNNELS[0]
    add(client, way)
    client.lab.configure("router", f"route add unreachable {ADDRESSES[TUNNELLED]}/32")
    try:
        until(lambda: complaint(client, way) != "")
    finally:
        client.lab.configure("router", f"route del unreachable {ADDRESSES[TUNNELLED]}/32")
    assert status(client, way)["reason"] == (
        "10.0.0.1, on the way to it, says: it does not answer there (host unreachable)"
    )
    assert client.metric("xdplb_backend_path_errors_total")[1] >= 1
