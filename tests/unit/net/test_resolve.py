# SPDX-License-Identifier: Apache-2.0
"""From links, routes and neighbours to a next hop or a reason."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from xdplb.model.next_hop import NextHop
from xdplb.net.resolve import Tables, neighbour_key, resolve, why_unreachable
from xdplb.net.rtmessages import LinkInfo, Neighbour, NeighbourState, Route, RouteKind, Unreachable

ADDRESS, GATEWAY, SOURCE = (IPv4Address(text) for text in ("10.0.1.11", "10.0.0.1", "10.0.0.2"))
MAC, NIC_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
LINK = LinkInfo(2, "eth0", NIC_MAC, 1500, up=True, carrier=True, ethernet=True)
ROUTE = Route(RouteKind.UNICAST, 2, GATEWAY, SOURCE)
KEY = (2, GATEWAY)
NEIGHBOUR = Neighbour(2, GATEWAY, NeighbourState.STALE, MAC)
TABLES = Tables({2: LINK}, {KEY: NEIGHBOUR}, {})


def reason(
    route: Route | None = ROUTE,
    link: LinkInfo | None = LINK,
    neighbour: Neighbour | None = NEIGHBOUR,
    refused: int = 0,
) -> str:
    tables = Tables(
        {} if link is None else {2: link},
        {} if neighbour is None else {KEY: neighbour},
        {KEY: refused} if refused else {},
    )
    resolution = resolve(ADDRESS, route, tables)
    assert resolution.next_hop is None
    return resolution.reason


def test_a_next_hop_has_all_the_frame_needs() -> None:
    found = resolve(ADDRESS, ROUTE, TABLES)
    assert found.next_hop == NextHop(MAC, NIC_MAC, "eth0", 2, 1500, SOURCE, GATEWAY)


@pytest.mark.parametrize(("route_mtu", "mtu"), [(None, 1500), (1400, 1400), (9000, 1500)])
def test_the_smaller_mtu_counts(route_mtu: int | None, mtu: int) -> None:
    found = resolve(ADDRESS, replace(ROUTE, mtu=route_mtu), TABLES).next_hop
    assert found is not None
    assert found.mtu == mtu


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (reason(route=None), "the route to 10.0.1.11 has not been looked up yet"),
        (reason(replace(ROUTE, kind=RouteKind.LOCAL)), "10.0.1.11 is an address of this host itself"),
        (
            reason(replace(ROUTE, kind=RouteKind.ANYCAST)),
            "10.0.1.11 is the anycast address of the routers in this host's network",
        ),
        (reason(replace(ROUTE, source=None)), "eth0 has no IPv4 address to send to 10.0.1.11 from"),
        (reason(link=None), "the interface to 10.0.1.11 (index 2) is gone"),
        (reason(link=replace(LINK, up=False)), "eth0, which leads to 10.0.1.11, is down"),
        (reason(link=replace(LINK, carrier=False)), "eth0, which leads to 10.0.1.11, has no carrier"),
        (reason(link=replace(LINK, ethernet=False)), "reached through eth0, which is not an Ethernet interface"),
        (reason(neighbour=None), "waiting for an ARP answer from the gateway 10.0.0.1 to 10.0.1.11 on eth0"),
        (
            reason(neighbour=replace(NEIGHBOUR, state=NeighbourState.FAILED, mac=None)),
            "the gateway 10.0.0.1 to 10.0.1.11 does not answer ARP on eth0",
        ),
        (reason(neighbour=None, refused=errno.ENOBUFS), "raise net.ipv4.neigh.default.gc_thresh3"),
        (reason(neighbour=None, refused=errno.EPERM), "refuses to ask for the gateway 10.0.0.1 to 10.0.1.11 by ARP"),
    ],
)
def test_every_obstacle_has_its_sentence(said: str, expected: str) -> None:
    assert expected in said


def test_a_missing_route_names_the_nic_it_went_with() -> None:
    gone = Unreachable(errno.ENETUNREACH)
    assert why_unreachable(ADDRESS, gone, None) == "there is no route to 10.0.1.11"
    assert why_unreachable(ADDRESS, gone, LINK) == "there is no route to 10.0.1.11"
    down = replace(LINK, up=False)
    assert why_unreachable(ADDRESS, gone, down) == "there is no route to 10.0.1.11, since eth0 is down"


def test_the_neighbour_is_the_gateway_or_the_address_itself() -> None:
    assert neighbour_key(ADDRESS, ROUTE) == (2, GATEWAY)
    assert neighbour_key(ADDRESS, replace(ROUTE, gateway=None)) == (2, ADDRESS)
    assert neighbour_key(ADDRESS, replace(ROUTE, kind=RouteKind.LOCAL)) is None
