# SPDX-License-Identifier: Apache-2.0
"""Tagged frames in and out, by VLAN devices of the hosts. Where the kernel has no VLAN devices, all are skipped."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP, VIP6, Lab

from .balancer import PORT, Balancer
from .conftest import new_lab

TAG, OUTER, INNER = 7, 100, 8
KEY, KEY6 = f"{VIP}:{PORT}/tcp", f"[{VIP6}]:{PORT}/tcp"


def add_vlan(lab: Lab, host: str, nic: str, tag: int, *addresses: str) -> None:
    """Put a VLAN device on a host's interface, whose tags are in the frames, where XDP looks for them."""
    kind = "802.1ad" if tag == OUTER else "802.1q"
    for feature in ("txvlan", "tx-vlan-stag-hw-insert", "rxvlan"):
        lab.run(host, ["ethtool", "-K", nic, feature, "off"], check=False)
    name = f"{nic}.{tag}"
    lab.configure(host, f"link add link {nic} name {name} type vlan proto {kind} id {tag}", f"link set {name} up")
    for feature in ("txvlan", "tx-vlan-stag-hw-insert", "tx"):
        lab.run(host, ["ethtool", "-K", name, feature, "off"], check=False)
    for address in addresses:
        lab.configure(host, f"address add {address} dev {name}")


@pytest.fixture(scope="module")
def vlans() -> Iterator[Balancer]:
    """VLAN 7 with the router, the balancer and dr1 in it; VLAN 8 in VLAN 100 with the balancer and dr2."""
    if shutil.which("ethtool") is None:
        pytest.skip("there is no ethtool")
    with new_lab() as lab:
        try:
            lab.configure("dr1", "link add link eth0 name probe type vlan id 2", "link del probe")
        except Exception as error:
            if "Unknown device type" not in str(error) and "not supported" not in str(error):
                raise
            pytest.skip("this kernel has no VLAN devices")
        lab.run("switch", ["sh", "-c", "for nic in router balancer dr1 dr2; do ethtool -K $nic txvlan off; done"])
        add_vlan(lab, "router", "segment", TAG, "10.7.0.1/24", "2001:db8:7::1/64")
        add_vlan(lab, "balancer", "eth0", TAG, "10.7.0.2/24", "2001:db8:7::2/64")
        add_vlan(lab, "dr1", "eth0", TAG, "10.7.0.11/24", "2001:db8:7::11/64")
        for host, number in (("balancer", 2), ("dr2", 12)):
            add_vlan(lab, host, "eth0", OUTER)
            add_vlan(lab, host, f"eth0.{OUTER}", INNER, f"10.8.0.{number}/24", f"2001:db8:8::{number}/64")
            lab.configure(host, f"link set eth0.{OUTER}.{INNER} mtu 1496")  # a veth has room for one tag beyond its MTU
        balancer = Balancer(lab)
        for host in ("dr1", "dr2"):
            for vip in (VIP, VIP6):
                balancer.backend_host(host, "setup", str(vip), "--interface", "eth0")
            balancer.serve(host, VIP, VIP6)
        balancer.start()
        yield balancer


@pytest.fixture
def fresh(vlans: Balancer) -> Iterator[Balancer]:
    """The balancer, without a VIP afterwards, and the VIPs routed to it untagged."""
    yield vlans
    for key in (KEY, KEY6):
        vlans.cli("vip", "rm", key, check=False)
    route(vlans, str(ADDRESSES["balancer"]), "2001:db8::2")


def route(balancer: Balancer, gateway: str, gateway6: str) -> None:
    """Have the router send what is for the VIPs to these addresses of the balancer."""
    balancer.lab.configure(
        "router", f"route replace 203.0.113.0/24 via {gateway}", f"route replace 2001:db8:f::/64 via {gateway6}"
    )


def serve(balancer: Balancer, *backends: tuple[str, str], options: tuple[str, ...] = ()) -> None:
    """Add both VIPs with these backends, by their addresses of IPv4 and IPv6, and wait until they serve."""
    for index, key in enumerate((KEY, KEY6)):
        balancer.cli("vip", "add", key, *options)
        for addresses in backends:
            balancer.cli("backend", "add", key, addresses[index])
            wait_for(balancer, key, addresses[index])


def wait_for(balancer: Balancer, key: str, address: str) -> None:
    """Wait until a backend serves."""
    until(lambda: balancer.ask("backend", "show", key, address)["status"]["share"] > 0)


def answer(balancer: Balancer, vip: str) -> str:
    """Return who answers an upload of full segments to the VIP."""
    body = balancer.lab.folder / "body"
    body.write_bytes(bytes(500_000))
    asked = ["curl", "-gsSf", "--max-time", "10", "-H", "Expect:", "--data-binary", f"@{body}"]
    try:
        told = balancer.lab.run("client", [*asked, "-D", "-", f"http://{vip}/"]).stdout
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return next(line.split()[1] for line in told.splitlines() if line.startswith("X-Backend"))


IN_7 = ("10.7.0.11", "2001:db8:7::11")
IN_8_IN_100 = ("10.8.0.12", "2001:db8:8::12")
VIPS = (str(VIP), f"[{VIP6}]")


def test_from_no_vlan_into_one(fresh: Balancer) -> None:
    serve(fresh, IN_7)
    assert [answer(fresh, vip) for vip in VIPS] == ["dr1", "dr1"]
    shown = fresh.ask("backend", "show", KEY, IN_7[0])["status"]
    assert shown["interface"] == "eth0"


def test_from_a_vlan_into_the_same(fresh: Balancer) -> None:
    serve(fresh, IN_7)
    route(fresh, "10.7.0.2", "2001:db8:7::2")
    assert [answer(fresh, vip) for vip in VIPS] == ["dr1", "dr1"]


def test_from_a_vlan_out_of_it(fresh: Balancer) -> None:
    serve(fresh, ("10.0.0.11", "2001:db8::11"))
    route(fresh, "10.7.0.2", "2001:db8:7::2")
    assert [answer(fresh, vip) for vip in VIPS] == ["dr1", "dr1"]


def test_into_a_vlan_in_a_vlan(fresh: Balancer) -> None:
    serve(fresh, IN_8_IN_100)
    assert [answer(fresh, vip) for vip in VIPS] == ["dr2", "dr2"]


def test_from_one_vlan_into_a_vlan_in_another(fresh: Balancer) -> None:
    serve(fresh, IN_8_IN_100)
    route(fresh, "10.7.0.2", "2001:db8:7::2")
    assert [answer(fresh, vip) for vip in VIPS] == ["dr2", "dr2"]


def test_the_tags_that_came_stay_where_asked_for(fresh: Balancer) -> None:
    """The backend's address is in no VLAN: with the frame's own tag it comes by the VLAN device all the same."""
    serve(fresh, ("10.0.0.11", "2001:db8::11"), options=("--vlan", "keep"))
    route(fresh, "10.7.0.2", "2001:db8:7::2")
    before = tagged(fresh)
    assert [answer(fresh, vip) for vip in VIPS] == ["dr1", "dr1"]
    assert tagged(fresh) - before > 300


def tagged(balancer: Balancer) -> int:
    """Return how many packets came by the VLAN device of dr1."""
    (shown,) = json.loads(balancer.lab.run("dr1", ["ip", "-j", "-s", "link", "show", f"eth0.{TAG}"]).stdout)
    packets: int = shown["stats64"]["rx"]["packets"]
    return packets


def test_the_balancer_is_reached_in_its_vlan(fresh: Balancer) -> None:
    serve(fresh, IN_7)
    for address in ("10.7.0.2", "2001:db8:7::2"):
        fresh.lab.run("router", ["ping", "-c", "2", "-i", "0.2", "-W", "1", address])


def test_a_vip_is_pinged_in_a_vlan(fresh: Balancer) -> None:
    serve(fresh, IN_7)
    route(fresh, "10.7.0.2", "2001:db8:7::2")
    for vip in (VIP, VIP6):
        fresh.lab.run("client", ["ping", "-c", "2", "-i", "0.2", "-W", "1", str(vip)])
