# SPDX-License-Identifier: Apache-2.0
"""Next hops of IPv6 and by VLAN devices, and what the kernel's messages say of both."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from xdplb.model.next_hop import NextHop, VlanTag
from xdplb.net.links import nics_below_vlans
from xdplb.net.resolve import NeighbourKey, Tables, resolve
from xdplb.net.rtmessages import (
    AddressInfo,
    LinkInfo,
    Neighbour,
    NeighbourState,
    Route,
    RouteKind,
    parse_link,
)

ADDRESS, GATEWAY, SOURCE = (ip_address(text) for text in ("2001:db8:1::11", "fe80::1", "2001:db8::2"))
MAC, NIC_MAC, VLAN_MAC = (bytes.fromhex(f"02000000000{digit}") for digit in (1, 2, 3))
NIC = LinkInfo(2, "eth0", NIC_MAC, 1600, up=True, carrier=True, ethernet=True)
VLAN = replace(NIC, ifindex=3, name="eth0.7", mac=VLAN_MAC, mtu=1500, vlan=VlanTag(7), lower=2)
SERVICE = replace(VLAN, ifindex=3, name="eth0.100", vlan=VlanTag(100, 0x88A8))
INNER = replace(VLAN, ifindex=4, name="inner", vlan=VlanTag(7), lower=3)
THIRD = replace(VLAN, ifindex=5, name="third", lower=4)
ROUTE = Route(RouteKind.UNICAST, 2, GATEWAY, SOURCE)
KEY: NeighbourKey = (2, GATEWAY)
KNOWN = Neighbour(2, GATEWAY, NeighbourState.REACHABLE, MAC)


def tables(*links: LinkInfo, neighbour: Neighbour | None = KNOWN, refused: int = 0, unready: Any = ()) -> Tables:
    known = {(neighbour.ifindex, neighbour.address): neighbour} if neighbour else {}
    return Tables({link.ifindex: link for link in links}, known, {KEY: refused} if refused else {}, unready)


def by(ifindex: int, *links: LinkInfo) -> NextHop:
    """Return the next hop of a route by this interface."""
    found = resolve(ADDRESS, replace(ROUTE, ifindex=ifindex), tables(*links, neighbour=replace(KNOWN, ifindex=ifindex)))
    assert found.next_hop is not None, found.reason
    return found.next_hop


def test_a_link_local_gateway() -> None:
    assert by(2, NIC) == NextHop(MAC, NIC_MAC, "eth0", 2, 1600, SOURCE, GATEWAY)


def test_a_vlan_device_leads_to_its_nic_with_its_tag_its_mac_and_its_mtu() -> None:
    assert by(3, NIC, VLAN) == NextHop(MAC, VLAN_MAC, "eth0", 2, 1500, SOURCE, GATEWAY, (VlanTag(7),))


def test_of_two_vlan_devices_the_lower_one_s_tag_is_the_outer_one() -> None:
    hop = by(4, NIC, SERVICE, INNER)
    assert (hop.ifindex, hop.tags) == (2, (VlanTag(100, 0x88A8), VlanTag(7)))


def reason(route: Route = ROUTE, *links: LinkInfo, **rest: Any) -> str:
    found = resolve(ADDRESS, route, tables(*(links or (NIC,)), **rest))
    assert found.next_hop is None
    return found.reason


def unready(address: str, **flags: bool) -> AddressInfo:
    return AddressInfo(2, ip_interface(address), **flags)


NO_SOURCE = replace(ROUTE, source=None)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            reason(replace(ROUTE, ifindex=5), NIC, SERVICE, INNER, THIRD),
            "third, which leads to 2001:db8:1::11, is a VLAN",
        ),
        (
            reason(replace(ROUTE, ifindex=3), replace(VLAN, lower=0)),
            "eth0.7, which leads to 2001:db8:1::11, is a VLAN on a NIC of another network namespace",
        ),
        (reason(replace(ROUTE, ifindex=3), VLAN, replace(NIC, carrier=False)), "eth0, which leads to"),
        (reason(NO_SOURCE), "eth0 has no IPv6 address other than link-local to send to"),
        (reason(replace(ROUTE, source=ip_address("fe80::2"))), "has no IPv6 address other than link-local"),
        (
            reason(NO_SOURCE, unready=[unready("2001:db8::2/64", tentative=True)]),
            "eth0 is still checking whether another host has its address 2001:db8::2",
        ),
        (reason(NO_SOURCE, unready=[unready("fe80::2/64", tentative=True)]), "has no IPv6 address"),
        (
            reason(NO_SOURCE, unready=[unready("2001:db8::2/64", tentative=True, duplicate=True)]),
            "another host also has 2001:db8::2 of eth0",
        ),
        (
            reason(neighbour=None),
            "waiting for an answer to neighbour discovery from the gateway fe80::1 to",
        ),
        (
            reason(neighbour=replace(KNOWN, state=NeighbourState.FAILED, mac=None)),
            "the gateway fe80::1 to 2001:db8:1::11 does not answer neighbour discovery on eth0",
        ),
        (reason(neighbour=None, refused=errno.ENOBUFS), "raise net.ipv6.neigh.default.gc_thresh3"),
        (reason(neighbour=None, refused=errno.EPERM), "to 2001:db8:1::11 by neighbour discovery on eth0"),
        (reason(neighbour=None, refused=errno.EINVAL), "needs IPv6, which is disabled on eth0"),
    ],
)
def test_every_obstacle_has_its_sentence(said: str, expected: str) -> None:
    assert expected in said


def test_vlan_devices_are_told_by_the_nic_below_them() -> None:
    assert nics_below_vlans([NIC, SERVICE, INNER]) == {"eth0"}
    assert nics_below_vlans([NIC, replace(VLAN, lower=0)]) == frozenset()
    assert nics_below_vlans([NIC]) == frozenset()


# RTM_NEWLINK as Linux 6.1 wrote it, without attributes that nothing reads; changes of the flags by hand.
RECORDED = {
    "veth": (
        "5400000010000200010000000000000000000100030000000210000000000000070003007630000008000400dc0500000a000100"
        "220985b285890000100012000900010076657468000000000800050002000000"
    ),
    "802.1ad": (
        "78000000100002000100000000000000000001000400000002100000000000000b00030076302e313030000008000400dc050000"
        "0a000100220985b2858900003000120009000100766c616e00000000200002000600050088a8000006000100640000000c000200"
        "01000000ffffffff0800050003000000"
    ),
    "802.1Q": (
        "78000000100002000100000000000000000001000500000002100000000000000a000300696e6e657200000008000400dc050000"
        "0a000100220985b2858900003000120009000100766c616e0000000020000200060005008100000006000100070000000c000200"
        "01000000ffffffff0800050004000000"
    ),
}


def message(hexadecimal: str) -> Any:
    found = ifinfmsg(bytes.fromhex(hexadecimal))
    found.decode()
    return found


def test_a_vlan_device_is_read_from_the_kernel_s_message() -> None:
    lower, service, inner = (parse_link(message(RECORDED[name])) for name in ("veth", "802.1ad", "802.1Q"))
    assert (lower.name, lower.ifindex, lower.vlan, lower.lower) == ("v0", 3, None, 0)
    assert (service.name, service.vlan, service.lower) == ("v0.100", VlanTag(100, 0x88A8), 3)
    assert (inner.name, inner.vlan, inner.lower) == ("inner", VlanTag(7, 0x8100), 4)
    assert (inner.mtu, inner.mac.hex()) == (1500, "220985b28589")


def test_a_vlan_device_on_a_nic_of_another_namespace_stands_on_nothing_here() -> None:
    text = RECORDED["802.1Q"]
    netnsid = "08002500" + "00000000"  # IFLA_LINK_NETNSID
    found = parse_link(message("80" + text[2:] + netnsid))
    assert (found.vlan, found.lower) == (VlanTag(7), 0)
