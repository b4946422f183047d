"""What is computed for the kernel beforehand: the VIP index and the outer header's checksum."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP

from xdplb.dataplane import layout, vip_index
from xdplb.dataplane.backend_codec import checksum_base, decode, encode
from xdplb.dataplane.limits import check_backends
from xdplb.dataplane.plane import BackendEntry, Capacity, VipEntry
from xdplb.dataplane.source import vip_groups
from xdplb.model.errors import CapacityError
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward, Protocol, VipKey

MASK64 = 2**64 - 1
addresses = st.integers(min_value=0x01000001, max_value=0xDFFFFFFE).map(IPv4Address)
keys = st.builds(VipKey, addresses, st.integers(1, 65535), st.sampled_from(list(Protocol)))


def entries_of(found: list[VipKey]) -> list[VipEntry]:
    return [VipEntry(number, key, number % 2 == 0, number % 3 == 0, 1 + number) for number, key in enumerate(found)]


def look_up(index: np.ndarray, groups: int, address: IPv4Address, port: int, protocol: int) -> np.void | None:
    """Search as vip.h does: integers as they lie in the packet, no numpy."""
    raw_port = int.from_bytes(port.to_bytes(2, "big"), "little")
    key = int.from_bytes(address.packed, "little") | raw_port << 32 | protocol << 48
    group = (key * int(index["seed"][0]) & MASK64) >> (64 - (groups.bit_length() - 1))
    for entry in index["entries"][0][group * 4 : group * 4 + 4]:
        if (int(entry["address"]), int(entry["port"]), int(entry["protocol"])) == (int(address), port, protocol):
            return entry
    return None


@given(st.lists(keys, unique=True, max_size=64))
def test_each_vip_and_each_of_their_addresses_is_found(found: list[VipKey]) -> None:
    entries = entries_of(found)
    groups = vip_groups(Capacity(vips=64))
    index = vip_index.build(entries, groups)
    for entry in entries:
        held = look_up(index, groups, entry.key.address, entry.key.port, entry.key.protocol.number)
        assert held is not None
        assert (held["id"], held["idle_seconds"]) == (entry.id, entry.idle_seconds)
        assert bool(held["flags"] & layout.VIP_TRACK_ALWAYS) == entry.track_always
        assert bool(held["flags"] & layout.VIP_HASH_SOURCE) == entry.hash_source
        assert look_up(index, groups, entry.key.address, 0, 0) is not None
    assert vip_index.parse(index) == {entry.id: entry for entry in entries}
    assert np.count_nonzero(index["entries"]["address"]) == len(found) + len({key.address for key in found})


def test_entries_of_a_group_are_filled_from_the_front() -> None:
    index = vip_index.build(
        entries_of([VipKey(IPv4Address(0x0A000000 + n), 80, Protocol.TCP) for n in range(500)]), 2048
    )
    used = index["entries"][0]["address"].reshape(-1, 4) != 0
    assert (np.diff(used.astype(int), axis=1) <= 0).all()


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
    index = vip_index.build(entries_of(found), vip_groups(Capacity(vips=8192)))
    assert len(vip_index.parse(index)) == 8192


def test_an_index_without_room_is_refused() -> None:
    found = [VipKey(IPv4Address(0x0B000000), port, Protocol.TCP) for port in range(1, 18)]
    with pytest.raises(CapacityError, match="no room") as refused:
        vip_index.build(entries_of(found), 4)
    assert "--max-vips" in refused.value.hint


@given(addresses, addresses, st.integers(0, 255), st.integers(40, 65535), st.integers(0, 0xFFFF))
def test_the_checksum_begun_here_and_ended_per_packet_is_the_right_one(
    source: IPv4Address, destination: IPv4Address, tos: int, length: int, varying: int
) -> None:
    prefix = IPv4Address(int(source) & 0xFFFF0000)
    whole = IP(src=str(prefix + varying), dst=str(destination), tos=tos, len=length, id=0, flags="DF", ttl=64, proto=4)
    words = (tos << 8, _swapped(length), _swapped(0x4000), _swapped(varying))
    total = checksum_base(prefix, destination) + sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert _swapped(~total & 0xFFFF) == int.from_bytes(bytes(whole)[10:12], "big")


def _swapped(word: int) -> int:
    """Return a word of network order as a little-endian CPU loads it."""
    return int.from_bytes(word.to_bytes(2, "big"), "little")


def test_a_backend_is_encoded_for_its_packets() -> None:
    hop = NextHop(b"\2\0\0\0\0\2", b"\2\0\0\0\0\1", "eth0", 5, 1500, IPv4Address("10.0.0.1"), IPv4Address("10.0.0.254"))
    entry = BackendEntry(9, 3, 7, IPv4Address("10.1.0.9"), Forward.IPIP, usable=True, next_hop=hop)
    value = encode([entry])[0]
    assert bytes(value["destination_mac"]) == hop.destination_mac
    assert bytes(value["source_mac"]) == hop.source_mac
    assert (value["ifindex"], value["mtu"], value["vip"], value["epoch"]) == (5, 1500, 7, 3)
    assert (value["flags"], value["forward"]) == (layout.BACKEND_USABLE, layout.FORWARD_IPIP)
    assert value["checksum"] == checksum_base(hop.source, entry.address)
    assert decode(9, value) == replace(entry, next_hop=replace(hop, interface="", gateway=None))


def test_an_mtu_beyond_the_field_is_the_most_it_holds() -> None:
    hop = NextHop(bytes(6), bytes(6), "lo", 1, 65536, IPv4Address("10.0.0.1"))
    entry = BackendEntry(1, 0, 0, IPv4Address("10.1.0.9"), Forward.DR, usable=True, next_hop=hop)
    assert encode([entry])[0]["mtu"] == 65535


def test_the_id_that_marks_a_pinned_slot_is_never_a_backends() -> None:
    check_backends(Capacity(backends=65535), [65534])
    with pytest.raises(CapacityError):
        check_backends(Capacity(backends=65535), [layout.SLOT_PINNED])
