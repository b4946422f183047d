# SPDX-License-Identifier: Apache-2.0
"""Next hops of IPv6, and of routes of IPv4 through a gateway of IPv6, follow what happens to the host."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from xdplb.model.next_hop import Resolution
from xdplb.net.lab import Lab

from .watching import Watch, mac_of, watching

DR1, IPIP1, NOBODY = "2001:db8::11", "2001:db8:1::11", "2001:db8::99"
OLD_IPIP1 = "10.0.1.11"
ROUTER = ip_address("fe80::1")


def test_a_backend_on_the_segment_and_one_behind_a_link_local_gateway(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        await watch.resolved(IPIP1)
        direct, routed = watch.hop(DR1), watch.hop(IPIP1)
        assert (direct.destination_mac, direct.gateway) == (mac_of(lab, "dr1"), None)
        assert (routed.destination_mac, routed.gateway) == (mac_of(lab, "router", "segment"), ROUTER)
        assert direct.source_mac == routed.source_mac == mac_of(lab, "balancer")
        assert (direct.interface, direct.mtu, str(direct.source), direct.tags) == ("eth0", 1500, "2001:db8::2", ())

    watching(lab, [DR1, IPIP1], scenario)


def test_a_route_of_ipv4_through_a_gateway_of_ipv6(lab: Lab) -> None:
    lab.configure("balancer", "route add 10.0.1.0/24 via inet6 fe80::1 dev eth0")

    async def scenario(watch: Watch) -> None:
        await watch.resolved(OLD_IPIP1)
        hop = watch.hop(OLD_IPIP1)
        assert (hop.destination_mac, hop.gateway) == (mac_of(lab, "router", "segment"), ROUTER)
        assert str(hop.source) == "10.0.0.2"

    watching(lab, [OLD_IPIP1], scenario)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("2001:db8::2", "2001:db8::2 is an address of this host itself"),
        ("2001:db8:9::1", "the route to 2001:db8:9::1 is of type blackhole"),
        ("2001:db8:9:1::1", "the route to 2001:db8:9:1::1 is of type unreachable"),
        ("2001:db8:9:2::1", "the route to 2001:db8:9:2::1 is of type prohibit"),
        ("2001:db8:a::1", "there is no route to 2001:db8:a::1"),
        ("2001:db8:9:3::1", "2001:db8:9:3::1 is reached through lo, which is not an Ethernet interface"),
    ],
)
def test_why_an_address_has_no_next_hop(lab: Lab, address: str, reason: str) -> None:
    kinds = ("blackhole 2001:db8:9::/64", "unreachable 2001:db8:9:1::/64", "prohibit 2001:db8:9:2::/64")
    routes = (f"route add {kind}" for kind in (*kinds, "2001:db8:9:3::/64 dev lo"))
    lab.configure("balancer", "route del ::/0", *routes)

    async def scenario(watch: Watch) -> None:
        await watch.until(lambda: watch[address] == Resolution(None, reason))

    watching(lab, [address], scenario)


def test_a_silent_host_is_said_to_be_silent_and_found_soon_after_it_comes_up(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.until(lambda: watch[NOBODY].reason == f"{NOBODY} does not answer neighbour discovery on eth0")
        lab.configure("dr1", f"address add {NOBODY}/64 dev eth0")
        await watch.resolved(NOBODY)

    watching(lab, [NOBODY], scenario)


def test_a_nic_without_an_address_of_ipv6_is_said_and_an_address_is_taken_at_once(lab: Lab) -> None:
    lab.configure("balancer", "address del 2001:db8::2/64 dev eth0", "address del 2001:db8:2::1/64 dev eth1")
    lab.configure("balancer", "route add 2001:db8::/64 dev eth0")

    async def scenario(watch: Watch) -> None:
        none = f"eth0 has no IPv6 address other than link-local to send to {DR1} from"
        await watch.until(lambda: watch[DR1].reason == none)
        lab.configure("balancer", "address add 2001:db8::2/64 dev eth0")
        await watch.resolved(DR1)

    watching(lab, [DR1], scenario)


def test_an_address_that_is_not_sure_yet_is_waited_for(lab: Lab) -> None:
    settings = "cd /proc/sys/net/ipv6; echo 1 >conf/eth0/accept_dad; echo 1 >conf/all/accept_dad"
    lab.run("balancer", ["sh", "-c", f"{settings}; echo 2 >conf/eth0/dad_transmits"])
    lab.configure("balancer", "address del 2001:db8::2/64 dev eth0", "address del 2001:db8:2::1/64 dev eth1")
    lab.configure("balancer", "route add 2001:db8::/64 dev eth0", "address add 2001:db8::3/64 dev eth0")

    async def scenario(watch: Watch) -> None:
        tries = "eth0 is still checking whether another host has its address 2001:db8::3"
        await watch.until(lambda: watch[DR1].reason == tries)
        await watch.resolved(DR1)

    watching(lab, [DR1], scenario)


def test_an_address_that_another_host_has_is_said(lab: Lab) -> None:
    lab.run("balancer", ["sh", "-c", "cd /proc/sys/net/ipv6/conf; echo 1 >eth0/accept_dad; echo 1 >all/accept_dad"])
    lab.configure("balancer", "address del 2001:db8::2/64 dev eth0", "address del 2001:db8:2::1/64 dev eth1")
    lab.configure("balancer", "route add 2001:db8::/64 dev eth0", f"address add {DR1}/64 dev eth0")
    dr2 = "2001:db8::12"

    async def scenario(watch: Watch) -> None:
        said = f"another host also has {DR1} of eth0: it cannot be used to reach {dr2}"
        await watch.until(lambda: watch[dr2].reason == said)

    watching(lab, [dr2], scenario)


def test_a_nic_that_goes_down_is_noticed_at_once_and_its_return_too(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        lab.configure("balancer", "link set eth0 down")
        assert await watch.unresolved(DR1) < 0.5
        lab.configure("balancer", "link set eth0 up", "address add 2001:db8::2/64 dev eth0")
        await watch.resolved(DR1)

    watching(lab, [DR1], scenario)


def test_another_gateway_is_taken_at_once(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(IPIP1)
        await watch.resolved("2001:db8::12")
        lab.configure("balancer", "route add 2001:db8:1::/64 via 2001:db8::12")
        took = await watch.until(lambda: watch.hop(IPIP1).gateway == ip_address("2001:db8::12"))
        assert took < 0.1

    watching(lab, [IPIP1, "2001:db8::12"], scenario)


def test_the_mtu_of_the_route_counts(lab: Lab) -> None:
    lab.configure("balancer", "route add 2001:db8:1::/64 via fe80::1 dev eth0 mtu 1300")

    async def scenario(watch: Watch) -> None:
        await watch.resolved(IPIP1)
        assert watch.hop(IPIP1).mtu == 1300

    watching(lab, [IPIP1], scenario)


def test_an_entry_that_the_kernel_forgets_does_not_interrupt(lab: Lab) -> None:
    async def scenario(watch: Watch) -> None:
        await watch.resolved(DR1)
        watch.told.clear()
        lab.configure("balancer", "neigh flush dev eth0")
        with pytest.raises(TimeoutError):
            await watch.unresolved(DR1, 0.5)
        assert watch.told == set()

    watching(lab, [DR1], scenario)
