# SPDX-License-Identifier: Apache-2.0
"""The kernel's side of announcing: routes of both families, those of others, and what the doctor is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import TypeVar

import pytest

from xdplb.model.announcing import AnnouncedRoute
from xdplb.net import netns
from xdplb.net.route_facts import has_multipath, route_facts
from xdplb.net.route_table import KernelTable, withdraw_all

T = TypeVar("T")

ROUTES = [
    AnnouncedRoute(ip_network(network), metric)
    for network, metric in (
        ("203.0.113.10/32", 0),
        ("203.0.113.128/25", 100),
        ("2001:db8::10/128", 1024),
        ("2001:db8:1::/64", 100),
    )
]


@pytest.fixture
def within() -> Iterator[Callable[[Callable[[], T]], T]]:
    """Return what runs a function in a network namespace that nobody else has."""
    name = f"xdplb-routes-{os.getpid()}"
    netns.create(name)
    try:
        yield lambda work: netns.inside(name, work)
    finally:
        netns.remove(name)


def ip(command: str) -> str:
    return subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=True).stdout


def read(table: int = 210) -> set[AnnouncedRoute]:
    opened = KernelTable(table, 244)
    try:
        return set(opened.read())
    finally:
        opened.close()


def test_routes_of_both_families_and_of_prefixes_come_and_go(within: Callable[..., None]) -> None:
    def work() -> None:
        table = KernelTable(210, 244)
        assert table.read() == []
        assert table.add(ROUTES) == [""] * 4
        assert set(table.read()) == set(ROUTES)
        assert ip("-6 route show table 210").startswith("blackhole 2001:db8::10 dev lo proto 244 metric 1024")
        assert "blackhole 203.0.113.128/25 proto 244 metric 100" in ip("route show table 210")
        table.remove([ROUTES[0], ROUTES[2]])
        table.remove([ROUTES[0], ROUTES[2]])  # somebody else was faster
        assert set(table.read()) == {ROUTES[1], ROUTES[3]}
        table.close()
        assert withdraw_all(210, 244) == [ROUTES[1].network, ROUTES[3].network]
        assert withdraw_all(210, 244) == []

    within(work)


def test_two_metrics_stand_side_by_side_so_that_a_route_is_never_gone(within: Callable[..., None]) -> None:
    def work() -> None:
        table = KernelTable(210, 244)
        for network, normal in ((ROUTES[0].network, 0), (ROUTES[2].network, 1024)):
            routes = [AnnouncedRoute(network, metric) for metric in (normal, 100)]
            assert table.add(routes) == ["", ""]
            assert set(routes) <= set(table.read())
            table.remove(routes[:1])
            assert routes[1] in table.read()
        table.close()

    within(work)


def test_routes_of_others_are_known_as_such_and_never_replaced(within: Callable[..., None]) -> None:
    def work() -> None:
        ip("link set lo up")
        ip("route add blackhole 203.0.113.10 table 210 proto static")
        ip("route add 203.0.113.11 dev lo table 210 proto 244")
        ip("-6 route add blackhole 2001:db8::10 table 210 proto static")
        assert {(str(each.network), each.ours) for each in read()} == {
            ("203.0.113.10/32", False),
            ("203.0.113.11/32", False),
            ("2001:db8::10/128", False),
        }
        table = KernelTable(210, 244)
        why = "another program has put a route of the same metric there"
        assert table.add(ROUTES) == [why, "", why, ""]
        table.close()
        assert withdraw_all(210, 244) == [ROUTES[1].network, ROUTES[3].network]
        assert len(read()) == 3

    within(work)


def test_thousands_are_written_and_read(within: Callable[..., None]) -> None:
    def work() -> None:
        routes = [AnnouncedRoute(ip_network((0xCB007100 + number, 32)), 0) for number in range(2000)]
        table = KernelTable(210, 244)
        assert not any(table.add(routes))
        table.close()
        assert read() == set(routes)
        assert len(withdraw_all(210, 244)) == 2000

    within(work)


def test_the_doctor_is_told_who_else_uses_table_and_protocol_and_of_ecmp(within: Callable[..., None]) -> None:
    def work() -> None:
        facts = route_facts(210, 244)
        assert (facts.others, facts.elsewhere, facts.rules) == ((), (), ())
        ip("route add blackhole 198.18.0.1 proto 244")
        ip("route add blackhole 198.18.0.2 table 210 proto static")
        ip("rule add to 198.18.5.0/24 priority 77 lookup 210")
        facts = route_facts(210, 244)
        assert facts.others == ("198.18.0.2/32",)
        assert facts.elsewhere == ("198.18.0.1/32 in table 254",)
        assert facts.rules == ("priority 77",)
        assert not has_multipath(4)
        ip("link add veth0 type veth peer name veth1")
        ip("link set veth0 up")
        ip("addr add 10.9.0.1/24 dev veth0")
        ip("route add 198.19.0.0/16 nexthop via 10.9.0.2 nexthop via 10.9.0.3")
        assert has_multipath(4)
        assert not has_multipath(6)

    within(work)
