# SPDX-License-Identifier: Apache-2.0
"""The route that nearly all clients are on, and the prefixes that are not: never one too few."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdplb.dataplane import layout
from xdplb.model.address import IPNetwork
from xdplb.net.client_routes import MOST_OTHERS, common_route, merged
from xdplb.net.rtmessages import HostRoute, RouteKind, Rule

RULES = [
    *(Rule(4, place, is_plain=True) for place in ((0, 255), (32766, 254), (32767, 253))),
    *(Rule(6, place, is_plain=True) for place in ((0, 255), (32766, 254))),
]
GATEWAY = ip_address("10.0.0.1")
DEFAULT = HostRoute(ip_network("0.0.0.0/0"), RouteKind.UNICAST, 0, 2, GATEWAY)
CONNECTED = HostRoute(ip_network("10.0.0.0/24"), RouteKind.UNICAST, 0, 2, None)
LOCAL = HostRoute(ip_network("10.0.0.2/32"), RouteKind.LOCAL, 0, 2, None, is_simple=False)
LOOPBACK = HostRoute(ip_network("127.0.0.0/8"), RouteKind.LOCAL, 0, 1, None, is_simple=False)
BLACKHOLE = HostRoute(ip_network("203.0.113.10/32"), 6, 0, 0, None, is_simple=False)
HOST = [DEFAULT, CONNECTED, LOCAL, LOOPBACK]


def others(*more: HostRoute) -> list[str]:
    found = common_route(4, [*HOST, *more], RULES)
    assert found is not None
    assert found.route is DEFAULT
    assert not any(found.probe in network for network in found.others)
    return list(map(str, found.others))


def test_what_the_host_is_or_is_connected_to_is_not_on_the_way() -> None:
    assert others() == ["10.0.0.0/24"]
    assert others(BLACKHOLE) == ["10.0.0.0/24", "203.0.113.10/32"]
    assert others(replace(CONNECTED, network=ip_network("192.0.2.0/24"), ifindex=3)) == ["10.0.0.0/24", "192.0.2.0/24"]


def test_a_route_to_the_same_next_hop_is_on_the_way() -> None:
    same = replace(DEFAULT, network=ip_network("198.51.100.0/24"))
    assert others(same) == ["10.0.0.0/24"]
    for change in ({"mtu": 1400}, {"ifindex": 3}, {"is_simple": False}, {"is_conditional": True}):
        assert others(replace(same, **change)) == ["10.0.0.0/24", "198.51.100.0/24"]


def test_the_default_route_of_the_lowest_metric_counts() -> None:
    assert others(replace(DEFAULT, metric=9, gateway=ip_address("10.0.0.9"))) == ["10.0.0.0/24"]


@pytest.mark.parametrize(
    "routes",
    [
        [CONNECTED],
        [replace(DEFAULT, is_simple=False)],
        [DEFAULT, replace(DEFAULT, gateway=ip_address("10.0.0.9"))],
        [DEFAULT, replace(DEFAULT, metric=5, is_conditional=True)],
        [
            DEFAULT,
            replace(CONNECTED, network=ip_network("0.0.0.0/1")),
            replace(CONNECTED, network=ip_network("128.0.0.0/1")),
        ],
    ],
    ids=["no default", "several next hops", "two defaults", "for one type of service", "others cover all"],
)
def test_there_is_no_such_route(routes: list[HostRoute]) -> None:
    assert common_route(4, routes, RULES) is None


@pytest.mark.parametrize(
    "rules",
    [
        [*RULES, Rule(4, (1000, 100), is_plain=False)],
        [*RULES, Rule(4, (1000, 254), is_plain=True)],
        RULES[1:],
        [Rule(4, (0, 255), is_plain=False), *RULES[1:]],
    ],
    ids=["another table", "main once more", "no local table first", "local for some"],
)
def test_with_rules_of_ones_own_the_kernel_decides(rules: list[Rule]) -> None:
    assert common_route(4, HOST, rules) is None
    assert common_route(6, [replace(DEFAULT, network=ip_network("::/0"))], rules) is not None


def test_ipv6_compares_halves_and_leaves_link_local_addresses_out() -> None:
    default = HostRoute(ip_network("::/0"), RouteKind.UNICAST, 1024, 2, ip_address("fe80::1"))
    local = replace(default, network=ip_network("2001:db8::2/128"), kind=RouteKind.LOCAL, is_simple=False)
    found = common_route(6, [default, local], RULES)
    assert found is not None
    assert list(map(str, found.others)) == ["2001:db8::/64", "fe80::/10"]


NETWORKS4 = st.builds(
    lambda start, length: IPv4Network((start, length), strict=False), st.integers(0, 2**32 - 1), st.integers(1, 32)
)
NETWORKS6 = st.builds(
    lambda start, length: IPv6Network((start, length), strict=False), st.integers(0, 2**128 - 1), st.integers(1, 128)
)


@given(st.one_of(st.lists(NETWORKS4, min_size=1, max_size=40), st.lists(NETWORKS6, min_size=1, max_size=40)), st.data())
def test_what_is_merged_has_room_and_holds_every_host_of_the_prefixes(
    networks: list[IPNetwork], data: st.DataObject
) -> None:
    version = networks[0].version
    made = merged(networks, version)
    assert len(made) <= MOST_OTHERS
    assert version == 4 or all(network.prefixlen <= 64 for network in made)
    network = data.draw(st.sampled_from(networks))
    address = network[data.draw(st.integers(0, network.num_addresses - 1))]
    first, half = int(address) >> (address.max_prefixlen - 8), int(address) >> 64
    is_no_host = first in {0, 127} or first >= 224 if version == 4 else first == 0xFF or half == 0
    assert is_no_host or any(address in each for each in made)


def test_as_many_prefixes_as_packets_are_compared_with() -> None:
    assert MOST_OTHERS == layout.CLIENT_OTHERS
