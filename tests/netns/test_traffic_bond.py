# SPDX-License-Identifier: Apache-2.0
"""A bond of two NICs carries the balancer's program, and what it sends out. Skipped where the kernel has no bonds."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.waiting import until
from xdplb.model.errors import PlatformError
from xdplb.net.lab import ADDRESSES, VIP, VIP6, Lab

from .balancer import PORT, Balancer
from .conftest import new_lab

KEY, KEY6 = f"{VIP}:{PORT}/tcp", f"[{VIP6}]:{PORT}/tcp"


def bond(lab: Lab) -> None:
    """Give the balancer a second cable to the switch, and one bond of both in the place of its NIC."""
    peer = f"type veth peer name eth2 netns {lab.namespace('balancer')}"
    lab.configure("switch", f"link add second {peer}", "link set second master ports up")
    lab.attach("switch", "second")
    lab.configure("balancer", "address flush dev eth0", "link set eth0 down", "link set eth0 master bond0")
    lab.configure("balancer", "link set eth2 master bond0")
    lab.configure("balancer", "link set bond0 up", "address add 10.0.0.2/24 dev bond0")
    lab.configure("balancer", "address add 2001:db8::2/64 dev bond0")
    lab.configure("balancer", "route replace default via 10.0.0.1", "route replace ::/0 via fe80::1 dev bond0")


@pytest.fixture(scope="module")
def bonded() -> Iterator[Balancer]:
    """A balancer on a bond, with VIPs of both families on dr1 and ipip1."""
    with new_lab() as lab:
        try:
            lab.configure("balancer", "link add bond0 type bond mode active-backup miimon 50")
        except PlatformError as error:
            pytest.skip(f"this kernel makes no bonds: {error.detail}")
        bond(lab)
        balancer = Balancer(lab)
        for host, forward in (("dr1", "dr"), ("ipip1", "ipip")):
            for vip in (VIP, VIP6):
                balancer.backend_host(host, "setup", str(vip), "--forward", forward, "--interface", "eth0")
            balancer.serve(host, VIP, VIP6)
        balancer.start(nics=("bond0",))
        for key, direct, tunnelled in ((KEY, "10.0.0.11", "10.0.1.11"), (KEY6, "2001:db8::11", "2001:db8:1::11")):
            balancer.cli("vip", "add", key)
            balancer.cli("backend", "add", key, direct)
            balancer.cli("backend", "add", key, tunnelled, "--forward", "ipip")
            wait_for(balancer, key, direct)
            wait_for(balancer, key, tunnelled)
        yield balancer


def wait_for(balancer: Balancer, key: str, address: str) -> None:
    """Wait until a backend serves."""
    until(lambda: balancer.ask("backend", "show", key, address)["status"]["share"] > 0)


def answers(balancer: Balancer, vip: str, count: int = 40) -> set[str]:
    """Return who answers so many requests; each must be answered."""
    asked = ["curl", "-sSf", "--max-time", "5", f"http://{vip}/?[1-{count}]"]
    lines = balancer.lab.run("client", asked).stdout.splitlines()
    assert len(lines) == count
    return {line.split()[0] for line in lines}


def active_nic(balancer: Balancer) -> str:
    (shown,) = json.loads(balancer.lab.run("balancer", ["ip", "-j", "-d", "link", "show", "bond0"]).stdout)
    active: str = shown["linkinfo"]["info_data"]["active_slave"]
    return active


def test_frames_come_in_and_go_out_by_the_bond(bonded: Balancer) -> None:
    assert answers(bonded, str(VIP)) == {"dr1", "ipip1"}
    shown = bonded.ask("backend", "show", KEY, str(ADDRESSES["dr1"]))["status"]
    assert (shown["interface"], bonded.mode()) == ("bond0", "native")


def test_frames_of_ipv6_too(bonded: Balancer) -> None:
    text = bonded.lab.run("client", ["curl", "-gsSf", "--max-time", "5", f"http://[{VIP6}]/"]).stdout
    assert text.split()[1] == "2001:db8:c::2"


def test_the_vip_is_pinged(bonded: Balancer) -> None:
    for vip in (VIP, VIP6):
        bonded.lab.run("client", ["ping", "-c", "2", "-i", "0.2", "-W", "1", str(vip)])


def test_they_go_on_by_the_other_nic_when_one_fails(bonded: Balancer) -> None:
    lab = bonded.lab
    active = active_nic(bonded)
    port = {"eth0": "balancer", "eth2": "second"}[active]
    lab.configure("switch", f"link set {port} down")
    try:
        until(lambda: active_nic(bonded) != active)
        until(lambda: bonded.ask("backend", "show", KEY, str(ADDRESSES["dr1"]))["status"]["share"] > 0)
        assert answers(bonded, str(VIP)) == {"dr1", "ipip1"}
    finally:
        lab.configure("switch", f"link set {port} up")
