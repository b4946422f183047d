# SPDX-License-Identifier: Apache-2.0
"""Backends as their packets find them: the fields, and the outer header's checksum as far as it is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP

from xdplb.dataplane import layout
from xdplb.dataplane.backend_codec import checksum_base, decode, encode
from xdplb.dataplane.capacity import check_backends
from xdplb.dataplane.features import Feature, feature_bits, features_of_bits
from xdplb.dataplane.needs import needs_of, needs_of_values
from xdplb.dataplane.plane import BackendEntry, Capacity
from xdplb.model.errors import CapacityError
from xdplb.model.next_hop import NextHop, VlanTag
from xdplb.model.vip import Forward

addresses = st.integers(min_value=0x01000001, max_value=0xDFFFFFFE).map(IPv4Address)
HOP = NextHop(b"\2\0\0\0\0\2", b"\2\0\0\0\0\1", "eth0", 5, 1500, IPv4Address("10.0.0.1"), IPv4Address("10.0.0.254"))
HOP6 = replace(HOP, source=IPv6Address("2001:db8::1"), gateway=IPv6Address("2001:db8::fe"))
V4, V6 = IPv4Address("10.1.0.9"), IPv6Address("2001:db8:1::9")


def entry(**changes: Any) -> BackendEntry:
    return replace(BackendEntry(9, 3, 7, V4, Forward.IPIP, usable=True, next_hop=HOP), **changes)


@given(
    st.tuples(addresses, addresses),
    st.integers(0, 255),
    st.integers(40, 65535),
    st.integers(0, 0xFFFF),
    st.sampled_from([4, 17, 41]),
)
def test_the_checksum_begun_here_and_ended_per_packet_is_the_right_one(
    between: tuple[IPv4Address, IPv4Address], tos: int, length: int, varying: int, protocol: int
) -> None:
    source, destination = between
    prefix = IPv4Address(int(source) & 0xFFFF0000)
    whole = IP(
        src=str(prefix + varying), dst=str(destination), tos=tos, len=length, id=0, flags="DF", ttl=64, proto=protocol
    )
    words = (tos << 8, _swapped(length), _swapped(0x4000), _swapped(varying))
    total = checksum_base(prefix, destination, protocol) + sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert _swapped(~total & 0xFFFF) == int.from_bytes(bytes(whole)[10:12], "big")


def _swapped(word: int) -> int:
    """Return a word of network order as a little-endian CPU loads it."""
    return int.from_bytes(word.to_bytes(2, "big"), "little")


def test_a_backend_is_encoded_for_its_packets() -> None:
    asked = entry()
    value = encode([asked])[0]
    assert bytes(value["destination_mac"]) == HOP.destination_mac
    assert bytes(value["source_mac"]) == HOP.source_mac
    assert (value["ifindex"], value["mtu"], value["vip"], value["epoch"]) == (5, 1500, 7, 3)
    assert (value["flags"], value["forward"]) == (layout.BACKEND_USABLE, layout.FORWARD_IPIP)
    assert value["checksum"] == checksum_base(HOP.source, V4)
    assert decode(9, encode([asked])) == replace(asked, next_hop=replace(HOP, interface="", gateway=None))


@pytest.mark.parametrize(
    ("changes", "forward", "protocol"),
    [
        ({}, layout.FORWARD_IPIP, 4),
        ({"inner_version": 6}, layout.FORWARD_IPIP, 41),
        ({"forward": Forward.GUE}, layout.FORWARD_GUE, 17),
        ({"forward": Forward.GUE, "inner_version": 6}, layout.FORWARD_GUE, 17),
        ({"forward": Forward.DR}, layout.FORWARD_DR, 4),
    ],
)
def test_the_outer_ipv4_header_says_what_is_inside(changes: dict[str, Any], forward: int, protocol: int) -> None:
    value = encode([entry(**changes)])[0]
    assert value["forward"] == forward
    assert value["checksum"] == checksum_base(HOP.source, V4, protocol)


@pytest.mark.parametrize(
    ("forward", "number"),
    [(Forward.IPIP, layout.FORWARD_IPIP6), (Forward.GUE, layout.FORWARD_GUE6), (Forward.DR, layout.FORWARD_DR)],
)
def test_an_outer_ipv6_header(forward: Forward, number: int) -> None:
    value = encode([entry(address=V6, forward=forward, next_hop=HOP6, source_mask=0xFFFF)]).view(layout.BACKEND6)[0]
    assert value["forward"] == number
    assert value["v6"]["address"].tobytes() == V6.packed
    assert value["v6"]["source"].tobytes() == HOP6.source.packed
    assert value["source_mask"] == 0xFFFF


@pytest.mark.parametrize(
    ("tags", "keep", "flags"),
    [
        ((), False, 0),
        ((VlanTag(5),), False, layout.BACKEND_VLAN),
        ((VlanTag(5, 0x88A8), VlanTag(6)), False, layout.BACKEND_VLAN | layout.BACKEND_QINQ | layout.BACKEND_VLAN_AD),
        ((), True, layout.BACKEND_VLAN_KEEP),
    ],
)
def test_tags(tags: tuple[VlanTag, ...], keep: bool, flags: int) -> None:
    value = encode([entry(next_hop=replace(HOP, tags=tags), keep_tags=keep)])[0]
    assert value["flags"] == flags | layout.BACKEND_USABLE
    assert value["vlan"].tolist() == [tag.id for tag in tags] + [0] * (2 - len(tags))


def test_an_mtu_beyond_the_field_is_the_most_it_holds() -> None:
    assert encode([entry(next_hop=replace(HOP, mtu=65536))])[0]["mtu"] == 65535


def test_the_id_that_marks_a_pinned_slot_is_never_a_backends() -> None:
    check_backends(Capacity(backends=65535), [65534])
    with pytest.raises(CapacityError):
        check_backends(Capacity(backends=65535), [layout.SLOT_PINNED])


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, set()),
        ({"address": V6, "next_hop": HOP6}, {Feature.OUTER_IPV6}),
        ({"address": V6, "next_hop": HOP6, "forward": Forward.DR}, set()),
        ({"address": V6, "next_hop": HOP6, "forward": Forward.GUE}, {Feature.OUTER_IPV6, Feature.GUE}),
        ({"forward": Forward.GUE}, {Feature.GUE}),
        ({"next_hop": replace(HOP, tags=(VlanTag(5),))}, {Feature.VLAN}),
        ({"keep_tags": True, "next_hop": None}, {Feature.VLAN}),
    ],
)
def test_what_a_backend_needs_is_seen_in_the_entry_and_in_the_map(
    changes: dict[str, Any], needed: set[Feature]
) -> None:
    asked = entry(**changes)
    assert needs_of(backends=[asked]) == needed
    assert needs_of_values(encode([entry(), asked])) == needed


@given(st.frozensets(st.sampled_from(Feature)))
def test_features_as_bits(features: frozenset[Feature]) -> None:
    assert features_of_bits(feature_bits(features)) == features
