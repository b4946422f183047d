# SPDX-License-Identifier: Apache-2.0
"""What another process writes into the maps is found, and what xdplb had written is put back: one test a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network

import numpy as np
import pytest

from tests.contract.planes import ALL_FEATURES, HOP, HOP6, KernelKit, make_kit
from xdplb.dataplane import layout
from xdplb.dataplane.inner_maps import open_inner, read_trie
from xdplb.dataplane.maps import BpfMap, MapType
from xdplb.dataplane.plane import BackendEntry, Mark, NatWay, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.next_hop import ClientWay
from xdplb.model.vip import Forward, QuicIds, RateLimits, VipKey

ACCESS4 = AccessList(deny=[ip_network("198.51.100.0/24")])
ACCESS6 = AccessList(deny=[ip_network("2001:db8:bad::/48")])
VIPS = [
    VipEntry(
        0,
        VipKey.parse("203.0.113.10:443/udp"),
        track_always=True,
        idle_seconds=60,
        quic=QuicIds(2),
        has_access_list=True,
    ),
    VipEntry(
        1,
        VipKey.parse("[2001:db8::10]:443/tcp"),
        track_always=False,
        idle_seconds=60,
        has_access_list=True,
        limits=RateLimits(packets=100),
    ),
    VipEntry(2, VipKey.parse("203.0.113.0/24:8000-8999/tcp"), track_always=False, idle_seconds=60),
    VipEntry(3, VipKey.parse("[2001:db8:f::/64]:80/tcp"), track_always=False, idle_seconds=60),
]
BACKENDS = [
    BackendEntry(
        1, 0, 0, IPv4Address("10.0.0.1"), Forward.DR, usable=True, next_hop=HOP, weight=3, quic_server_id=b"\0\x07"
    ),
    BackendEntry(2, 5, 1, IPv6Address("2001:db8::2"), Forward.DR, usable=True, next_hop=HOP6),
    BackendEntry(
        *(3, 0, 0, IPv4Address("10.0.0.3"), Forward.NAT),
        usable=True,
        next_hop=HOP,
        nat=NatWay(IPv4Address("203.0.113.10"), 8000, 8080, 8081, (6,), (IPv4Network("192.0.2.0/25"),)),
    ),
]
SLOTS = np.arange(layout.TABLE_SIZE, dtype=np.uint32) % 2 + 1
PRINT = bytes(range(16))
WAY = ClientWay(HOP, (ip_network("10.0.0.0/24"),))
GARBAGE = b"\xa5"


@pytest.fixture
def kit() -> Iterator[KernelKit]:
    """A data plane that has written something into each of its maps."""
    with make_kit("kernel", ALL_FEATURES) as made:
        assert isinstance(made, KernelKit)
        made.plane.write_backends(BACKENDS)
        made.plane.start_vips([vip.id for vip in VIPS])
        made.plane.write_table(0, SLOTS, PRINT)
        made.plane.write_access({0: ACCESS4, 1: ACCESS6})
        made.plane.write_vips(VIPS)
        made.plane.write_client_ways({4: WAY})
        yield made


def restored(kit: KernelKit) -> set[str]:
    """Verify everything once; return the names of the maps that had to be written again."""
    return {name for name in kit.plane.verify() if name}


def spoil(found: BpfMap, key: int = 0) -> None:
    """Write garbage into an element, through another descriptor than the data plane's."""
    with BpfMap.by_id(found.info.id) as other:
        other.update(key, GARBAGE * other.value_bytes)


def spoil_inner(outer: BpfMap) -> None:
    inner = open_inner(outer, 0)
    assert inner is not None
    spoil(inner)


def spoil_trie(outer: BpfMap) -> None:
    inner = open_inner(outer, 0)
    assert inner is not None
    with inner:
        for key, value in list(inner.items()):
            inner.update(key, GARBAGE * len(value))


def bytes_of(found: BpfMap) -> object:
    """Return all that a map has, also inside of it."""
    if found.info.type != MapType.ARRAY_OF_MAPS:
        return sorted(found.items())
    inner = open_inner(found, 0)
    return None if inner is None else sorted(inner.items())


def spoil_owners(owned: BpfMap) -> None:
    for key, _ in list(owned.items()):
        owned.update(key, 9)
    owned.update(b"\x11" * owned.info.key_size, 3)


def spoil_direct(owned: BpfMap) -> None:
    """Let a network belong to nobody, and add one that is not asked for."""
    for key, _ in list(owned.items()):
        owned.update(key, 9)
        owned.update(key[:-1] + b"\x11", 3)


SPOILS: dict[str, Callable[[BpfMap], None]] = {
    "vip_index": spoil_inner,
    "vip_index6": spoil_inner,
    "vip_prefixes": spoil_trie,
    "vip_prefixes6": spoil_trie,
    "vip_guards": spoil,
    "access4": spoil_inner,
    "access6": spoil_inner,
    "backends": lambda found: spoil(found, 1),
    "backend_loads": lambda found: spoil(found, 1),
    "quic_servers": spoil_owners,
    "nat_backends": spoil_owners,
    "nat_direct": spoil_direct,
    "nat_index": spoil,
    "client_ways": spoil,
    "table_prints": spoil,
}


def test_maps_that_nobody_else_changed_are_left_alone(kit: KernelKit) -> None:
    assert restored(kit) == set()
    assert not kit.plane.restore_table(0, SLOTS)
    again = kit.again()
    assert {name for name in again.verify() if name} == set()
    assert again.read_prints() == {0: PRINT}


@pytest.mark.parametrize("name", SPOILS)
def test_a_foreign_write_is_found_and_put_right(kit: KernelKit, name: str) -> None:
    found = getattr(kit.maps, name)
    before = bytes_of(found)
    SPOILS[name](found)
    assert bytes_of(found) != before
    assert restored(kit) == {name}
    if name == "backend_loads":  # the count of flows is the packets' own
        load = np.frombuffer(found.read(1), layout.BACKEND_LOAD)[0]
        assert (load["weight"], load["usable"], load["server_id_bytes"]) == (3, 1, 2)
    else:
        assert bytes_of(found) == before
    assert restored(kit) == set()


@pytest.mark.parametrize("name", ["vip_index", "vip_prefixes", "access4"])
def test_a_map_that_was_swapped_for_another_is_put_right(kit: KernelKit, name: str) -> None:
    found = getattr(kit.maps, name)
    before = bytes_of(found)
    inner = open_inner(found, 0)
    assert inner is not None
    flags = 1 if "prefixes" in name else 0
    info = inner.info
    with BpfMap.create(
        MapType(info.type),
        "foreign",
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        flags=flags,
    ) as other:
        found.update(0, other.fd)
    assert bytes_of(found) != before
    assert restored(kit) == {name}
    assert bytes_of(found) == before


def test_a_foreign_write_to_meta_is_put_right_and_is_never_believed(kit: KernelKit) -> None:
    with BpfMap.open(kit.maps.pin_dir / "meta") as meta:
        before = meta.read(0)
        meta.update(0, GARBAGE * meta.value_bytes)
        assert kit.plane.features == ALL_FEATURES
        assert restored(kit) == {"meta"}
        assert meta.read(0) == before


def test_a_foreign_write_to_the_mark_of_the_state_is_put_right(kit: KernelKit) -> None:
    kit.plane.write_mark(Mark(7, 9))
    with BpfMap.open(kit.maps.pin_dir / "instance") as mark:
        mark.update(0, GARBAGE * mark.value_bytes)
    assert restored(kit) == {"instance"}
    assert kit.plane.read_mark() == Mark(7, 9)


def test_frames_go_out_by_the_nics_that_the_program_is_on_and_no_other(kit: KernelKit) -> None:
    kit.maps.tx_ports.update(1, 1)  # lo, on which nothing is attached
    assert restored(kit) == {"tx_ports"}
    assert list(kit.maps.tx_ports.items()) == []


@pytest.mark.parametrize("harm", ["slots", "gone", "other"])
def test_a_table_that_somebody_else_changed_is_put_right(kit: KernelKit, harm: str) -> None:
    tables = kit.maps.vip_tables
    if harm == "slots":
        spoil_inner(tables)
    elif harm == "gone":
        tables.delete(0)
    else:
        value = layout.VIP_TABLE.itemsize
        with BpfMap.create(
            MapType.ARRAY, "foreign", value_size=value, flags=1 << 10
        ) as other:  # an array that can be mapped
            tables.update(0, other.fd)
    assert kit.plane.restore_table(0, SLOTS)
    found = kit.plane.read_table(0)
    assert found is not None
    assert np.array_equal(found, SLOTS)
    assert not kit.plane.restore_table(0, SLOTS)


def test_a_trie_is_read_in_pieces(kit: KernelKit) -> None:
    """So that no flip waits for the look at thousands of prefixes."""
    assert len(read_trie(kit.maps.vip_prefixes)) == 1
    steps = list(kit.plane.verify())
    assert len(steps) > 10


def test_a_write_that_is_cut_short_leaves_a_table_that_the_next_daemon_reads(
    kit: KernelKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill -9 would leave it."""

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr("xdplb.dataplane.vip_tables.VipTables.write", killed)
    with pytest.raises(SystemExit):
        kit.plane.write_table(0, SLOTS[::-1].copy(), bytes(range(1, 17)))
    assert kit.again().read_prints() == {}
