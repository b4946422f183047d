# SPDX-License-Identifier: Apache-2.0
"""What of the packet path each kind of VIP and backend needs, and nothing more."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from tests.bound import bound_backend, bound_vip, snapshot, with_access
from tests.fakes import next_hop
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.needs import features_needed_at_start
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.features import Feature
from xdplb.model.access import AccessList
from xdplb.model.backend import Backend
from xdplb.model.next_hop import Resolution, VlanTag
from xdplb.model.vip import Forward, QuicIds, RateLimits, Scheduler, Vip, VipKey, VlanTags

IN4, IN6 = "203.0.113.10:443/udp", "[2001:db8::10]:443/udp"


def state(text: str, *backends: str, access: AccessList | None = None, **asked: object) -> Snapshot:
    """Return a VIP with these backends."""
    key = VipKey.parse(text)
    bound = {
        ip_address(address): bound_backend(number, 0, Backend(ip_address(address)), 1)
        for number, address in enumerate(backends, 1)
    }
    vip = bound_vip(0, Vip(key, **asked), 1, (), bound)  # type: ignore[arg-type]
    return snapshot(1, {key: vip if access is None else with_access(vip, access)})


CASES: dict[str, tuple[Snapshot, set[Feature]]] = {
    "nothing": (Snapshot(), set()),
    "IPv4 by DR": (state(IN4, "10.0.0.1"), set()),
    "4in4": (state(IN4, "10.0.0.1", forward=Forward.IPIP), set()),
    "4in6": (state(IN4, "2001:db8:1::1", forward=Forward.IPIP), {Feature.OUTER_IPV6}),
    "IPv6 by DR": (state(IN6, "2001:db8:1::1"), {Feature.IPV6}),
    "6in4": (state(IN6, "10.0.0.1", forward=Forward.IPIP), {Feature.IPV6}),
    "6in6 by GUE": (
        state(IN6, "2001:db8:1::1", forward=Forward.GUE),
        {Feature.IPV6, Feature.OUTER_IPV6, Feature.GUE},
    ),
    "NAT": (state(IN4, "10.0.0.1", forward=Forward.NAT), {Feature.NAT}),
    "NAT of IPv6": (state(IN6, "2001:db8:1::1", forward=Forward.NAT), {Feature.IPV6, Feature.NAT}),
    "all ports": (state("203.0.113.10:0/tcp"), {Feature.WILDCARD}),
    "a prefix": (state("203.0.113.0/24:80/tcp"), {Feature.WILDCARD}),
    "both protocols": (state("203.0.113.10:53/tcp+udp"), set()),
    "by source": (state(IN4, scheduler=Scheduler.SH), set()),
    "by turns": (state(IN4, scheduler=Scheduler.WRR), {Feature.SCHEDULERS}),
    "by QUIC": (state(IN4, quic=QuicIds(2)), {Feature.QUIC}),
    "limited": (state(IN4, limits=RateLimits(packets=1)), {Feature.LIMITS}),
    "not for everybody": (state(IN4, access=AccessList(deny=(ip_network("192.0.2.0/24"),))), {Feature.ACCESS}),
    "tags kept": (state(IN4, vlan=VlanTags.KEEP), {Feature.VLAN}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_asked_needs(name: str):
    asked, needed = CASES[name]
    assert features_needed_at_start(asked, Observed()) == needed


def test_tags_on_the_way_to_a_backend_or_on_our_nics_need_vlan():
    asked, address = state(IN4, "10.0.0.1"), ip_address("10.0.0.1")
    tagged = replace(next_hop(address), tags=(VlanTag(7),))
    assert features_needed_at_start(asked, Observed(next_hops={address: Resolution(tagged)})) == {Feature.VLAN}
    assert features_needed_at_start(asked, Observed(vlan=True)) == {Feature.VLAN}
    assert features_needed_at_start(asked, Observed(next_hops={address: Resolution(None, "no route")})) == set()
