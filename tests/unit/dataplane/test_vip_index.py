# SPDX-License-Identifier: Apache-2.0
"""The VIP indexes: what the program searches in them is there, whatever the VIPs are."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdplb.dataplane import layout
from xdplb.dataplane.plane import Capacity, VipEntry
from xdplb.dataplane.source import vip_groups, vip_groups6
from xdplb.dataplane.vip_index import IPV4, IPV6, Family
from xdplb.dataplane.vip_parts import VipParts
from xdplb.model.address import IPAddress
from xdplb.model.errors import CapacityError
from xdplb.model.vip import HashKind, Protocol, VipKey

MASK64 = 2**64 - 1
ports = st.integers(1, 65535)
addresses = st.integers(min_value=0x01000001, max_value=0xDFFFFFFE).map(IPv4Address)
addresses6 = st.integers(min_value=1 << 125, max_value=(1 << 126) - 1).map(IPv6Address)
keys = st.builds(VipKey, addresses, ports, st.sampled_from(Protocol))
keys6 = st.builds(VipKey, addresses6, ports, st.sampled_from(Protocol))


def entries_of(found: Sequence[VipKey]) -> list[VipEntry]:
    return [
        VipEntry(number, key, number % 2 == 0, 1 + number, list(HashKind)[number % 4])
        for number, key in enumerate(found)
    ]


def built(family: Family, vips: Sequence[VipEntry], groups: int) -> np.ndarray:
    return family.place(VipParts(vips).entries(4 if family is IPV4 else 6), groups)


def family_of(address: IPAddress) -> Family:
    return IPV4 if address.version == 4 else IPV6


def look_up(index: np.ndarray, groups: int, address: IPAddress, port: int, protocol: int) -> np.void | None:
    """Search as the program does: integers as they lie in the packet, no numpy."""
    raw_port = int.from_bytes(port.to_bytes(2, "big"), "little")
    transport = raw_port | protocol << 16
    if address.version == 4:
        total = (int.from_bytes(address.packed, "little") | transport << 32) * int(index["seed"][0])
        wanted: int | list[int] = int(address)
    else:
        words = (int(address) >> 64, int(address) & MASK64, transport)
        total = sum(word * int(seed) for word, seed in zip(words, index["seeds"][0], strict=True))
        wanted = [int(address) >> 64, int(address) & MASK64]
    group = (total & MASK64) >> (64 - (groups.bit_length() - 1))
    for entry in index["entries"][0][group * 4 : group * 4 + 4]:
        if (entry["address"].tolist(), int(entry["port"]), int(entry["protocol"])) == (wanted, port, protocol):
            return entry
    return None


def shadowed(found: Sequence[VipKey], key: VipKey, number: int) -> bool:
    """Whether a VIP of one protocol stands before this one of both."""
    single = {6: Protocol.TCP, 17: Protocol.UDP}[number]
    return key.protocol is Protocol.BOTH and VipKey(key.address, key.port, single) in found


@given(st.lists(keys, unique=True, max_size=64) | st.lists(keys6, unique=True, max_size=64))
def test_each_vip_and_each_of_their_addresses_is_found(found: list[VipKey]) -> None:
    entries = entries_of(found)
    groups = vip_groups(Capacity(vips=64))
    family = family_of(found[0].address) if found else IPV4
    index = built(family, entries, groups)
    for entry in entries:
        for number in entry.key.protocol.numbers:
            if not shadowed(found, entry.key, number):
                held = look_up(index, groups, entry.key.address, entry.key.port, number)
                assert held is not None
                assert (held["vip"]["id"], held["vip"]["idle_seconds"]) == (entry.id, entry.idle_seconds)
        assert look_up(index, groups, entry.key.address, 0, 0) is not None
    read = family.parse(index)
    assert all(read[number] == entries[number] for number in read)
    assert all(entry.key.protocol is Protocol.BOTH for entry in entries if entry.id not in read)


def test_a_vip_of_one_protocol_stands_before_one_of_both() -> None:
    found = [VipKey.parse("203.0.113.10:53/tcp+udp"), VipKey.parse("203.0.113.10:53/tcp")]
    for order in (found, found[::-1]):
        entries = entries_of(order)
        index = built(IPV4, entries, 64)
        owners = {
            number: look_up(index, 64, found[0].address, 53, number)["vip"]["id"]  # type: ignore[index]
            for number in (6, 17)
        }
        assert owners == {6: order.index(found[1]), 17: order.index(found[0])}
        assert IPV4.parse(index) == {entry.id: entry for entry in entries}


@pytest.mark.parametrize("start", [IPv4Address("10.0.0.0"), IPv6Address("2001:db8::")])
def test_entries_of_a_group_are_filled_from_the_front(start: IPAddress) -> None:
    entries = entries_of([VipKey(start + n, 80, Protocol.TCP) for n in range(500)])
    index = built(family_of(start), entries, 2048)
    used = index["entries"][0]["address"].reshape(2048, 4, -1).any(axis=2)
    assert (np.diff(used.astype(int), axis=1) <= 0).all()
    assert np.count_nonzero(used) == 1000


SHAPES = {
    "addresses in a row": [(number, 443) for number in range(8192)],
    "networks in a row": [(number * 256, 443) for number in range(8192)],
    "two ports an address": [(number // 2, 80 + number % 2) for number in range(8192)],
    "many ports an address": [(number // 64, 1000 + number % 64) for number in range(8192)],
    "one address": [(0, 1 + number) for number in range(8192)],
    "no order at all": [(number * 0x9E3779B1 % 0x70000000, 443) for number in range(8192)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_index_is_built_whatever_the_vips(shape: str) -> None:
    found = [VipKey(IPv4Address(0x0B000000 + offset), port, Protocol.TCP) for offset, port in SHAPES[shape]]
    index = built(IPV4, entries_of(found), vip_groups(Capacity(vips=8192)))
    assert len(IPV4.parse(index)) == 8192


SHAPES6 = {
    "hosts in a row": [(0, number, 443) for number in range(5000)],
    "networks in a row": [(number, 1, 443) for number in range(5000)],
    "networks and hosts": [(number // 64, number % 64, 443) for number in range(5000)],
    "upper bytes": [(number // 64 << 48, number % 64 << 56, 443) for number in range(5000)],
    "two ports an address": [(0, number // 2, 80 + number % 2) for number in range(6000)],
    "one address": [(0, 1, 1 + number) for number in range(8192)],
}


@pytest.mark.parametrize("shape", SHAPES6)
def test_the_largest_index_of_ipv6(shape: str) -> None:
    found = [
        VipKey(IPv6Address((0x20010DB800000000 ^ upper) << 64 | lower), port, Protocol.TCP)
        for upper, lower, port in SHAPES6[shape]
    ]
    index = built(IPV6, entries_of(found), vip_groups6(Capacity(vips=8192)))
    assert len(IPV6.parse(index)) == len(found)


@pytest.mark.parametrize("vips", [1024, 4096])
def test_an_address_each_of_tcp_and_udp(vips: int) -> None:
    found = [VipKey(IPv4Address(0x0B000000 + number), 443, Protocol.BOTH) for number in range(vips)]
    assert len(IPV4.parse(built(IPV4, entries_of(found), vip_groups(Capacity(vips=vips))))) == vips


def test_an_index_without_room_is_refused() -> None:
    found = [VipKey(IPv4Address(0x0B000000), port, Protocol.TCP) for port in range(1, 18)]
    with pytest.raises(CapacityError, match="no room") as refused:
        built(IPV4, entries_of(found), 4)
    assert "--max-vips" in refused.value.hint


def test_indexes_fit_what_the_kernel_allocates() -> None:
    assert layout.vip_index(vip_groups(Capacity(vips=8192))).itemsize <= 4 << 20
    assert layout.vip6_index(vip_groups6(Capacity(vips=8192))).itemsize <= 4 << 20
    assert max(layout.ACCESS4.itemsize, layout.ACCESS6.itemsize) <= 4 << 20
