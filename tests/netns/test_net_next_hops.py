# SPDX-License-Identifier: Apache-2.0
"""Next hops follow what happens to real NICs, routes and neighbours."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest

from xdplb.model.next_hop import Resolution
from xdplb.net.host_view import HostView
from xdplb.net.lab import Lab
from xdplb.net.rtnetlink import EventSocket, RequestSocket

from .capture import solicitations
from .watching import Watch, mac_of, watching

DR1, IPIP1 = "10.0.0.11", "10.0.1.11"
ROUTER = IPv4Address("10.0.0.1")


def test_a_backend_on_the_segment_and_one_behind_the_router(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        await watch.resolved(IPIP1)
        direct, routed = watch[DR1].next_hop, watch[IPIP1].next_hop
        assert direct is not None
        assert routed is not None
        assert (direct.destination_mac, direct.gateway) == (mac_of(lab, "dr1"), None)
        assert (routed.destination_mac, routed.gateway) == (mac_of(lab, "router", "segment"), ROUTER)
        assert direct.source_mac == routed.source_mac == mac_of(lab, "balancer")
        assert (direct.interface, direct.mtu, str(direct.source)) == ("eth0", 1500, "10.0.0.2")

    watching(lab, [DR1, IPIP1], scenario)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("10.0.0.2", "10.0.0.2 is an address of this host itself"),
        ("10.0.0.255", "10.0.0.255 is a broadcast or multicast address here"),
        ("10.9.0.1", "the route to 10.9.0.1 is of type blackhole"),
        ("10.9.1.1", "the route to 10.9.1.1 is of type unreachable"),
        ("10.9.2.1", "the route to 10.9.2.1 is of type prohibit"),
        ("192.0.2.1", "there is no route to 192.0.2.1"),
        ("10.9.3.1", "10.9.3.1 is reached through lo, which is not an Ethernet interface"),
    ],
)
def test_why_an_address_has_no_next_hop(lab: Lab, address: str, reason: str) -> None:
    kinds = ("blackhole 10.9.0.0/24", "unreachable 10.9.1.0/24", "prohibit 10.9.2.0/24", "10.9.3.0/24 dev lo")
    lab.configure("balancer", "route del default", *(f"route add {kind}" for kind in kinds))

    async def scenario(watch: Watch) -> None:
        await watch.until(lambda: watch[address] == Resolution(None, reason))

    watching(lab, [address], scenario)


def test_a_silent_host_is_said_to_be_silent_and_found_soon_after_it_comes_up(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.until(lambda: watch["10.0.0.99"].reason == "10.0.0.99 does not answer ARP on eth0")
        lab.configure("dr1", "address add 10.0.0.99/24 dev eth0")
        await watch.resolved("10.0.0.99")

    watching(lab, ["10.0.0.99"], scenario)


def test_a_nic_that_goes_down_is_noticed_at_once_and_its_return_too(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        lab.configure("balancer", "link set eth0 down")
        assert await watch.unresolved(DR1) < 0.1
        assert watch[DR1].reason == f"there is no route to {DR1}, since eth0 is down"
        lab.configure("balancer", "link set eth0 up")
        await watch.resolved(DR1)

    watching(lab, [DR1], scenario)


def test_a_cable_that_is_pulled_is_noticed_at_once(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        lab.configure("switch", "link set balancer down")
        assert await watch.unresolved(DR1) < 0.5
        assert "eth0" in watch[DR1].reason
        lab.configure("switch", "link set balancer up")
        await watch.resolved(DR1)

    watching(lab, [DR1], scenario)


def test_a_backend_with_a_new_mac_is_followed_when_it_speaks(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        await asyncio.sleep(1.1)  # the kernel takes no second MAC for an entry within its locktime of a second
        lab.configure("dr1", "link set eth0 address 02:00:00:00:00:77")
        await asyncio.to_thread(lab.run, "dr1", ["ping", "-c", "1", "-W", "1", "10.0.0.2"])
        new = bytes.fromhex("020000000077")
        await watch.until(lambda: (hop := watch[DR1].next_hop) is not None and hop.destination_mac == new)

    watching(lab, [DR1], scenario)


def test_another_gateway_is_taken_at_once(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(IPIP1)
        await watch.resolved("10.0.0.12")
        watch.told.clear()
        lab.configure("balancer", "route add 10.0.1.0/24 via 10.0.0.12")
        took = await watch.until(
            lambda: (hop := watch[IPIP1].next_hop) is not None and hop.gateway == IPv4Address("10.0.0.12")
        )
        assert took < 0.1
        await watch.until(lambda: bool(watch.told))  # the loop is told a moment after the answer has changed
        assert watch.told == {IPv4Address(IPIP1)}

    watching(lab, [IPIP1, "10.0.0.12"], scenario)


def test_the_mtu_of_the_nic_and_of_the_route_count(lab: Lab) -> None:
    lab.configure("balancer", "link set eth0 mtu 1400", "route add 10.0.1.0/24 via 10.0.0.1 mtu 1300")

    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        await watch.resolved(IPIP1)
        direct, routed = watch[DR1].next_hop, watch[IPIP1].next_hop
        assert direct is not None
        assert routed is not None
        assert (direct.mtu, routed.mtu) == (1400, 1300)

    watching(lab, [DR1, IPIP1], scenario)


def test_an_entry_that_the_kernel_forgets_does_not_interrupt(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        watch.told.clear()
        lab.configure("balancer", "neigh flush dev eth0")
        await asyncio.sleep(0.5)
        assert watch[DR1].next_hop is not None
        assert watch.told == set()

    watching(lab, [DR1], scenario)


def test_an_address_no_longer_watched_is_forgotten(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        watch.source.watch(frozenset({IPv4Address(IPIP1)}))
        await watch.resolved(IPIP1)
        assert watch[DR1] == Resolution(None, f"the route to {DR1} has not been looked up yet")

    watching(lab, [DR1], scenario)


def test_two_thousand_addresses(lab: Lab) -> None:
    addresses = [f"10.0.{4 + index // 250}.{1 + index % 250}" for index in range(2000)]
    others = [*addresses, DR1]

    async def scenario(watch: Watch) -> None:
        await watch.until(lambda: all(watch[address].next_hop for address in others))
        lab.configure("balancer", "link set eth0 down")
        assert await watch.until(lambda: not any(watch[address].next_hop for address in others)) < 2
        lab.configure("balancer", "link set eth0 up", "route add default via 10.0.0.1")
        await watch.until(lambda: all(watch[address].next_hop for address in others))

    watching(lab, others, scenario)


def test_events_the_kernel_had_to_drop_are_noticed_and_made_up_for(lab: Lab) -> None:
    def scenario() -> None:
        events, requests = EventSocket(), RequestSocket()
        try:
            view = HostView(requests)
            view.resync()
            address = IPv4Address("10.200.0.1")
            view.watch(frozenset({address}))
            routes = (f"10.{100 + index // 65536}.{index // 256 % 256}.{index % 256}" for index in range(40_000))
            lab.configure(
                "balancer", "route add blackhole 10.200.0.0/16", *(f"route add {at} dev eth0" for at in routes)
            )
            assert any(events.drain() is None for _ in range(100))
            assert view.resync() == {address}
            assert view.resolutions[address].reason == f"the route to {address} is of type blackhole"
        finally:
            events.close()
            requests.close()

    lab.inside("balancer", scenario)


def test_doubts_about_many_behind_one_router_ask_it_once_and_interrupt_nothing(lab: Lab) -> None:
    behind = [f"10.0.1.{last}" for last in range(50, 150)]

    async def scenario(watch: Watch) -> None:
        for address in behind:
            await watch.resolved(address)
        await asyncio.sleep(0.5)  # what was asked at the start is answered
        watch.told.clear()
        with solicitations(lab, "router", "segment") as asked:
            for address in behind:
                watch.source.doubt(IPv4Address(address), first=True)
            await asyncio.sleep(0.7)
        assert asked == [ROUTER]
        assert watch.told == set(), "the same MAC is no news"
        assert watch[behind[0]].next_hop is not None

    watching(lab, behind, scenario)


@pytest.mark.parametrize("kind", ["nud permanent", "nud reachable extern_learn"])
def test_a_mac_that_somebody_else_keeps_is_not_doubted(lab: Lab, kind: str) -> None:
    lab.configure("balancer", f"neigh replace {DR1} lladdr 02:00:00:00:00:55 dev eth0 {kind}")

    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        with solicitations(lab, "dr1", "eth0") as asked:
            watch.source.doubt(IPv4Address(DR1), first=True)
            await asyncio.sleep(0.3)
        assert (asked, watch.hop(DR1).destination_mac[-1]) == ([], 0x55)

    watching(lab, [DR1], scenario)


def test_without_a_check_a_silent_change_is_found_before_the_kernel_gives_up(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        watch.told.clear()
        hops = []
        lab.configure("dr1", "link set eth0 address 02:00:00:00:00:77")
        lab.configure("balancer", f"neigh change {DR1} dev eth0 nud probe")
        end = asyncio.get_running_loop().time() + 2.5
        while asyncio.get_running_loop().time() < end:
            hops.append(watch[DR1].next_hop)
            await asyncio.sleep(0.01)
        assert None not in hops, "until then packets go on to the old MAC"
        assert watch.hop(DR1).destination_mac == bytes.fromhex("020000000077")

    watching(lab, [DR1], scenario)
