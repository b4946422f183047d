# SPDX-License-Identifier: Apache-2.0
"""What is said of an interface is what it is."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from xdplb.model.errors import NotFoundError
from xdplb.net import links
from xdplb.net.lab import Lab


def test_an_interface_is_described(lab: Lab) -> None:
    found = lab.inside("balancer", lambda: links.link("eth0"))
    told = lab.run("balancer", ["ip", "-o", "link", "show", "eth0"]).stdout
    assert found.mac.hex(":") in told
    assert (found.name, found.mtu, found.up, found.ethernet, found.driver, found.xdp) == (
        "eth0",
        1500,
        True,
        True,
        "veth",
        None,
    )


def test_an_interface_that_is_down(lab: Lab) -> None:
    lab.configure("balancer", "link set eth0 down mtu 1400")
    found = lab.inside("balancer", lambda: links.link("eth0"))
    assert (found.up, found.mtu) == (False, 1400)


def test_an_xdp_program_is_seen(lab: Lab) -> None:
    found = lab.inside("switch", lambda: links.link("balancer")).xdp
    assert found is not None
    assert found.mode == "native"
    assert f"id {found.program_id}" in lab.run("switch", ["ip", "-d", "link", "show", "balancer"]).stdout


def test_no_such_interface_names_those_there_are(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match=r"eht0.*eth0, eth1"):
        lab.inside("balancer", lambda: links.link("eht0"))


def test_addresses(lab: Lab) -> None:
    lab.configure("balancer", "address add 10.7.7.7/32 dev lo")
    found = lab.inside("balancer", lambda: links.addresses("eth0"))
    assert [each for each in found if not each.is_link_local] == [
        ip_interface("10.0.0.2/24"),
        ip_interface("2001:db8::2/64"),
    ]
    here = lab.inside("balancer", links.host_addresses)
    assert here == {ip_address(text) for text in ("10.0.0.2", "10.0.2.1", "2001:db8::2", "2001:db8:2::1")}
    assert lab.inside("balancer", lambda: links.holders(ip_address("10.7.7.7"))) == ["lo"]
    assert lab.inside("balancer", lambda: links.holders(ip_address("2001:db8:2::1"))) == ["eth1"]


def test_a_port_of_a_bridge_names_the_bridge(lab: Lab) -> None:
    found = lab.inside("router", lambda: links.link("ipip1"))
    assert (found.master, found.master_kind, found.vlan_of) == ("tunnels", "bridge", None)


def test_without_a_vlan_device_nothing_stands_on_a_nic(lab: Lab) -> None:
    assert lab.inside("balancer", lambda: links.vlan_devices(["eth0", "eth1"])) == []
