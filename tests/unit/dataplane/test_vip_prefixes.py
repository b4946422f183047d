# SPDX-License-Identifier: Apache-2.0
"""The rules of VIPs of several ports or addresses: the longest prefix of an address alone says which VIP has it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdplb.dataplane import layout, vip_prefixes
from xdplb.dataplane.plane import VipEntry
from xdplb.model.address import IPAddress
from xdplb.model.errors import CapacityError
from xdplb.model.vip import Protocol, VipKey


def entry(number: int, key: VipKey) -> VipEntry:
    return VipEntry(number, key, track_always=False, idle_seconds=60)


def entries_of(texts: list[str]) -> list[VipEntry]:
    return [entry(number, VipKey.parse(text)) for number, text in enumerate(texts)]


def look_up(rules: vip_prefixes.Rules, address: IPAddress, port: int, protocol: int) -> int | None:
    """Search as the program does: the rules of the longest prefix, the first that matches."""
    for length in range(address.max_prefixlen, -1, -1):
        network = ip_network((address, length), strict=False)
        value = rules.get(length.to_bytes(4, "little") + network.network_address.packed)
        if value is not None:
            for rule in value["rules"][0][: value["count"][0]]:
                bit = {6: layout.RULE_TCP, 17: layout.RULE_UDP}[protocol]
                if rule["protocols"] & bit and rule["first_port"] <= port <= rule["last_port"]:
                    return int(rule["vip"]["id"])
            return None
    return None


def best(vips: list[VipEntry], address: IPAddress, port: int, protocol: int) -> int | None:
    """Return the VIP of the greatest rank among those that match."""
    matching = [
        vip
        for vip in vips
        if address in vip.key.network and port in vip.key.ports and protocol in vip.key.protocol.numbers
    ]
    return max(matching, key=lambda vip: vip.key.rank).id if matching else None


@st.composite
def overlapping(draw: st.DrawFn) -> list[VipEntry]:
    """Draw VIPs of which no two of equal rank match one packet, as the control plane sees to it."""
    ranges = draw(st.lists(st.sampled_from([(0, 0), (80, 80), (80, 89), (1, 1024), (85, 85)]), max_size=8))
    vips: list[VipEntry] = []
    for first, last in ranges:
        address, length = draw(
            st.sampled_from([("10.1.2.3", 32), ("10.1.2.0", 24), ("10.1.0.0", 16), ("10.1.2.0", 30)])
        )
        key = VipKey(ip_address(address), first, draw(st.sampled_from(Protocol)), length, last)
        if all(not same_rank_overlap(key, vip.key) for vip in vips):
            vips.append(entry(len(vips), key))
    return vips


def same_rank_overlap(one: VipKey, other: VipKey) -> bool:
    shares = set(one.protocol.numbers) & set(other.protocol.numbers) and set(one.ports) & set(other.ports)
    return bool(one.rank == other.rank and one.network.overlaps(other.network) and shares)


@given(
    overlapping(),
    st.sampled_from(["10.1.2.3", "10.1.2.1", "10.1.2.200", "10.1.9.9", "10.2.0.0"]),
    st.sampled_from([1, 80, 85, 89, 90, 1025, 65535]),
    st.sampled_from([6, 17]),
)
def test_the_vip_of_the_greatest_rank_is_found(vips: list[VipEntry], address: str, port: int, protocol: int) -> None:
    rules = vip_prefixes.build(vips)
    assert look_up(rules, ip_address(address), port, protocol) == best(vips, ip_address(address), port, protocol)


@given(overlapping())
def test_reads_back_as_written(vips: list[VipEntry]) -> None:
    rules = vip_prefixes.build(vips)
    raw = [(key, value.tobytes()) for key, value in rules.items()]
    assert vip_prefixes.parse(raw) == {vip.id: vip for vip in vips}


def test_ipv6_and_the_ends_of_the_ports() -> None:
    rules = vip_prefixes.build(entries_of(["[2001:db8::/32]:0/udp", "[2001:db8:0:1::/64]:443-444/tcp+udp"]))
    inside, beside = ip_address("2001:db8:0:1::5"), ip_address("2001:db8::5")
    assert look_up(rules, inside, 444, 17) == 1
    assert look_up(rules, inside, 445, 17) == 0
    assert look_up(rules, beside, 65535, 17) == 0
    assert look_up(rules, beside, 1, 6) is None


def test_more_rules_than_fit_are_refused_and_as_many_are_taken() -> None:
    texts = [f"10.0.0.0/8:{100 * number}-{100 * number + 9}/tcp" for number in range(1, 32)]
    assert vip_prefixes.build(entries_of([*texts, "10.0.0.0/24:0/tcp"]))
    with pytest.raises(
        CapacityError, match=r"too many port ranges and prefix VIPs on 10.0.0.0/25: 33, the limit is 32"
    ):
        vip_prefixes.build(entries_of([*texts, "10.0.0.0/24:0/tcp", "10.0.0.0/25:0/tcp"]))


def test_thousands_of_prefixes() -> None:
    vips = entries_of([f"10.{number >> 8}.{number & 255}.0/24:80-81/tcp" for number in range(8192)])
    rules = vip_prefixes.build(vips)
    assert len(rules) == 8192
    assert all(np.array_equal(value["count"], [1]) for value in rules.values())
