# SPDX-License-Identifier: Apache-2.0
"""What every DataPlane promises of backends."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import numpy as np
import pytest

from xdplb.dataplane import layout
from xdplb.dataplane.plane import BackendEntry, DataPlane, NatWay, ProbeWay
from xdplb.dataplane.remembered import FlowId
from xdplb.model.errors import CapacityError
from xdplb.model.next_hop import VlanTag
from xdplb.model.vip import Forward

from .planes import CAPACITY, HOP, HOP6, KEY, KernelKit, Kit, backend

OUTER6: dict[str, Any] = {"address": IPv6Address("2001:db8:2::9"), "next_hop": HOP6}


NAT = NatWay(IPv4Address("203.0.113.10"), 8000, 8080, 8080, (6,))


def nat_backend(number: int, **changes: Any) -> BackendEntry:
    """Return a NAT backend as it is read back: what its packets are rewritten to may be given."""
    way = replace(NAT, **{name: changes.pop(name) for name in NatWay.__slots__ if name in changes})
    hop = replace(changes.pop("next_hop", HOP), source=way.vip)
    version = way.vip.version
    return backend(number, forward=Forward.NAT, nat=way, next_hop=hop, inner_version=version, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"forward": Forward.NAT, "nat": NAT},
        {"forward": Forward.NAT, "nat": replace(NAT, direct=(ip_network("192.0.2.0/24"),))},
        {"forward": Forward.GUE},
        {"keep_tags": True},
        {"next_hop": replace(HOP, tags=(VlanTag(5),))},
    ],
    ids=["nat", "nat directly", "gue", "tags kept", "tagged"],
)
def test_a_backend_for_what_was_not_required(plain: DataPlane, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="require it first"):
        plain.write_backends([backend(1, **changes)])
    assert plain.read_backends() == {}


@pytest.mark.parametrize(
    "entry",
    [
        backend(1),
        backend(31, epoch=65535, forward=Forward.DR),
        backend(2, usable=False),
        backend(2, usable=False, next_hop=None),
        backend(3, source=IPv4Address("10.200.0.0"), source_mask=0xFFFF),
        backend(4, inner_version=6),
        backend(5, forward=Forward.GUE, weight=65535),
        backend(6, **OUTER6),
        backend(7, **OUTER6, forward=Forward.GUE, inner_version=6),
        backend(8, **OUTER6, forward=Forward.DR, inner_version=6),
        backend(9, **OUTER6, source=IPv6Address("2001:db8:3::"), source_mask=0xFFFFFFFF),
        backend(10, next_hop=replace(HOP, tags=(VlanTag(4094),))),
        backend(11, next_hop=replace(HOP, tags=(VlanTag(7, 0x88A8), VlanTag(8))), keep_tags=True),
        backend(12, quic_server_id=b"\0\0"),
        backend(13, quic_server_id=bytes(range(8)), weight=0),
        backend(14, usable=False, next_hop=None, source=IPv4Address("10.200.0.0"), source_mask=0xFFFF),
        nat_backend(15),
        nat_backend(16, first_port=65535, last_port=65535, shift=65455, protocols=(6, 17)),
        nat_backend(17, first_port=9000, last_port=9003, usable=False),
        nat_backend(18, first_port=0, last_port=0, shift=0),
        nat_backend(19, address=IPv6Address("2001:db8:2::19"), vip=IPv6Address("2001:db8::10"), next_hop=HOP6),
    ],
    ids=lambda entry: f"backend {entry.id}",
)
def test_a_backend_reads_back_as_written(kit: Kit, entry: BackendEntry) -> None:
    kit.plane.write_backends([entry])
    expected = entry
    if entry.source is not None and entry.next_hop is not None:
        expected = replace(entry, next_hop=replace(entry.next_hop, source=entry.source))
    assert kit.plane.read_backends() == {entry.id: expected}
    assert kit.again().read_backends() == {entry.id: expected}


def test_tags_that_no_frame_can_have(plane: DataPlane) -> None:
    for tags in ((VlanTag(1),) * 3, (VlanTag(1), VlanTag(2, 0x88A8))):
        with pytest.raises(ValueError, match="two VLAN tags"):
            plane.write_backends([backend(1, next_hop=replace(HOP, tags=tags))])


def test_a_server_id_goes_from_one_backend_to_another(kit: Kit) -> None:
    kit.plane.write_backends([backend(1, quic_server_id=b"\1"), backend(2, quic_server_id=b"\2")])
    kit.plane.write_backends([backend(3, quic_server_id=b"\1"), backend(2, quic_server_id=b"\3")])
    kit.plane.clear_backends([1])
    held = {number: found.quic_server_id for number, found in kit.again().read_backends().items()}
    assert held == {2: b"\3", 3: b"\1"}


def test_the_ports_of_a_nat_backend_change_and_go_with_it(kit: Kit) -> None:
    kit.plane.write_backends([nat_backend(1), nat_backend(2), nat_backend(3)])
    moved = nat_backend(2, first_port=9000, last_port=9001, protocols=(17,))
    assert kit.again().read_backends()[2] == nat_backend(2)
    kit.plane.write_backends([moved, backend(3)])
    kit.plane.clear_backends([1])
    assert kit.again().read_backends() == {2: moved, 3: backend(3)}


def test_the_networks_that_a_nat_backend_answers_directly_change_and_go_with_it(kit: Kit) -> None:
    inner, outer = ip_network("192.0.2.0/25"), ip_network("192.0.2.0/24")
    six = NatWay(ip_address("2001:db8:f::1"), 0, 80, 80, (6,), (ip_network("2001:db8:c::/64"),))
    kit.plane.write_backends(
        [
            nat_backend(1, direct=(outer, inner)),
            nat_backend(2, direct=(inner,)),
            backend(
                3, **OUTER6 | {"next_hop": replace(HOP6, source=six.vip)}, forward=Forward.NAT, nat=six, inner_version=6
            ),
        ]
    )
    held = {number: found.nat.direct for number, found in kit.again().read_backends().items() if found.nat}
    assert held == {1: (outer, inner), 2: (inner,), 3: six.direct}
    kit.plane.write_backends([nat_backend(1, direct=(inner,)), backend(2)])
    kit.plane.clear_backends([3])
    held = {number: found.nat.direct for number, found in kit.again().read_backends().items() if found.nat}
    assert held == {1: (inner,)}


def test_without_a_next_hop_a_backend_is_not_usable(plane: DataPlane) -> None:
    plane.write_backends([backend(1, next_hop=None)])
    assert not plane.read_backends()[1].usable


def test_writes_and_clears_only_the_backends_named(plane: DataPlane) -> None:
    plane.write_backends([backend(1), backend(2), backend(3)])
    plane.write_backends([backend(2, usable=False)])
    plane.clear_backends([3])
    plane.clear_backends([])
    plane.write_backends([])
    assert plane.read_backends() == {1: backend(1), 2: backend(2, usable=False)}


def test_takes_as_many_backends_as_its_capacity(plane: DataPlane) -> None:
    entries = {number: backend(number) for number in range(1, CAPACITY.backends + 1)}
    plane.write_backends(list(entries.values()))
    assert plane.read_backends() == entries


@pytest.mark.parametrize("number", [0, CAPACITY.backends + 1])
def test_refuses_a_backend_beyond_its_capacity_and_writes_none(plane: DataPlane, number: int) -> None:
    with pytest.raises(CapacityError) as refused:
        plane.write_backends([backend(1), replace(backend(2), id=number)])
    assert "--max-backends" in refused.value.hint
    assert plane.read_backends() == {}


def test_loads_are_set_and_start_at_zero(kit: Kit) -> None:
    kit.plane.write_backends([backend(1, weight=3), backend(2), backend(3)])
    kit.plane.write_loads({1: 7, 2: 2**33, 3: 1})
    kit.plane.write_loads({})
    kit.plane.write_backends([backend(1, weight=4), backend(2, epoch=1)])
    assert [kit.load(number) for number in (1, 2, 3)] == [7, 0, 1]
    kit.plane.clear_backends([1])
    kit.plane.write_backends([backend(1)])
    assert kit.load(1) == 0
    with pytest.raises(CapacityError):
        kit.plane.write_loads({CAPACITY.backends + 1: 1})


def suspects(plane: DataPlane) -> frozenset[int]:
    flow = FlowId(ip_address("198.51.100.7"), 1024, KEY.address, KEY.port, 6)
    return plane.recall(flow, 0).suspects


def test_what_an_older_version_has_not_written_is_written_with_the_first_suspects(kit: Kit) -> None:
    kit.plane.write_backends([backend(1), backend(2, takes_new=False), backend(3)])
    if isinstance(kit, KernelKit):
        kit.maps.backend_doubts.update(1, np.zeros(1, layout.BACKEND_DOUBT))
        plane = kit.again()
        plane.write_suspects({3})
        doubts = kit.maps.backend_doubts.read_all()[1].view(layout.BACKEND_DOUBT).reshape(-1)
        assert np.flatnonzero(doubts["takes"]).tolist() == [1]


def test_suspects_are_those_told_last_and_outlive_the_daemon_but_not_their_backend(kit: Kit) -> None:
    plane = kit.plane
    plane.write_backends([backend(1, max_new_flows=7), backend(2), backend(3)])
    plane.write_suspects({1, 2})
    plane.write_suspects({2, 3})
    plane.write_backends([backend(2, usable=False), backend(3, epoch=1)])
    assert suspects(kit.again()) == {2}
    assert [plane.read_backends()[number].max_new_flows for number in (1, 2)] == [7, 0]
    plane.clear_backends([2])
    plane.write_backends([backend(2)])
    assert suspects(plane) == frozenset()
    with pytest.raises(CapacityError):
        plane.write_suspects({CAPACITY.backends + 1})


def test_ways_of_probes_are_taken_only_while_probing_is_open(kit: Kit) -> None:
    way = ProbeWay(ip_address("203.0.113.10"))
    with pytest.raises(ValueError, match="open it first"):
        kit.plane.write_probe_ways({1: way})
    kit.plane.open_probing()
    kit.plane.write_probe_ways({1: way, 2: replace(way, source=ip_address("10.0.0.2")), 3: None})
    with pytest.raises(CapacityError):
        kit.plane.write_probe_ways({CAPACITY.backends + 1: way})
    assert list(kit.plane.keep_probing()) == []
    kit.plane.close_probing()
    with pytest.raises(ValueError, match="open it first"):
        kit.plane.write_probe_ways({1: None})
