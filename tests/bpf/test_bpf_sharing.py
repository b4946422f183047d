# SPDX-License-Identifier: Apache-2.0
"""What the program hands out for other balancers, and what it does with records that they have told of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address

import numpy as np
import pytest

from tests.bpf import packets
from tests.bpf.balancer import EPOCH, VIP6_IDS, VIP_IDS, Balancer, backend, slot
from xdplb.dataplane import layout
from xdplb.dataplane.plane import SharedFlows
from xdplb.dataplane.told_flows import Fate
from xdplb.model.shared_record import FIN, OPENED, SHARED_RECORD, SharedRecords
from xdplb.model.vip import Protocol

pytestmark = pytest.mark.root

OLD, NEW = 1, 2
STEADY, MOVING, PINNED = slot(NEW), slot(NEW, OLD), slot(NEW, layout.SLOT_PINNED)
EST = layout.FLOW_ESTABLISHED

Make = Callable[..., bytes]


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def make(version: int) -> Make:
    return packets.tcp if version == 4 else packets.tcp6


@pytest.fixture
def shared(balancer: Balancer) -> Iterator[SharedFlows]:
    reader = balancer.plane.open_shared()
    yield reader
    reader.close()


def set_up(balancer: Balancer, slots: int, version: int) -> None:
    balancer.set_up(slots, [backend(number, version=version, inner_version=version) for number in (OLD, NEW)])


def told(shared: SharedFlows) -> list[tuple[int, int]]:
    """Return the backend and the flags of what was handed out."""
    return [(int(flow["backend"]), int(flow["flags"])) for flow in shared.read()]


def test_a_connection_of_a_moving_slot_is_told_of_once_it_is_answered(
    balancer: Balancer, shared: SharedFlows, make: Make, version: int
) -> None:
    set_up(balancer, MOVING, version)
    balancer.send(make("S"))
    assert told(shared) == []
    for flags in ("A", "A", "PA"):
        balancer.send(make(flags))
    assert shared.wait(0)
    (flow,) = shared.read()
    client, vip = (packets.CLIENT6, packets.VIP6) if version == 6 else (packets.CLIENT, packets.VIP)
    for name, address in (("source", ip_address(client)), ("destination", ip_address(vip))):
        assert flow[name].tobytes() == address.packed.ljust(16, b"\0")
    assert (int(flow["source_port"]), int(flow["destination_port"])) == (packets.CLIENT_PORT, packets.VIP_PORT)
    vip_id = (VIP6_IDS if version == 6 else VIP_IDS)[Protocol.TCP]
    assert [int(flow[name]) for name in ("vip", "backend", "epoch", "flags", "protocol", "version")] == [
        *(vip_id, NEW, EPOCH, EST | layout.SHARED_OPENED, 6, version)
    ]
    assert not shared.wait(0)


@pytest.mark.parametrize(("slots", "backend_id"), [(MOVING, OLD), (PINNED, None), (STEADY, None)])
def test_a_connection_that_was_open_is_told_of_where_it_is_recorded(
    balancer: Balancer, shared: SharedFlows, slots: int, backend_id: int | None
) -> None:
    set_up(balancer, slots, 4)
    balancer.send(packets.tcp("A"))
    balancer.send(packets.tcp("A"))
    assert told(shared) == ([] if backend_id is None else [(backend_id, EST)])


def test_its_end_is_told_of(balancer: Balancer, shared: SharedFlows, make: Make, version: int) -> None:
    set_up(balancer, MOVING, version)
    for flags in ("S", "A", "FA", "FA", "A", "R", "R"):
        balancer.send(make(flags))
    assert [flags for _, flags in told(shared)] == [
        *(EST | layout.SHARED_OPENED, EST | layout.FLOW_FIN, EST | layout.FLOW_FIN | layout.FLOW_RST)
    ]


def test_a_flood_of_syns_and_forged_resets_tells_nobody(balancer: Balancer, shared: SharedFlows) -> None:
    set_up(balancer, MOVING, 4)
    for port in range(2000, 2020):
        balancer.send(packets.tcp("S", source_port=port))
        balancer.send(packets.tcp("R", source_port=port))
    assert told(shared) == []


def test_where_all_is_recorded_peers_are_told_only_if_the_vip_says_so(balancer: Balancer, shared: SharedFlows) -> None:
    set_up(balancer, STEADY, 4)
    balancer.write_vips(track_always=True)
    balancer.write_slots(STEADY)
    balancer.send(packets.udp())
    assert told(shared) == []
    balancer.plane.delete_flows(balancer.plane.scan_flows())
    vips = balancer.plane.read_vips()
    balancer.plane.write_vips([replace(vip, shares_all=True) for vip in vips.values()])
    assert all(vip.shares_all for vip in balancer.plane.read_vips().values())
    balancer.send(packets.udp())
    balancer.send(packets.udp())
    assert told(shared) == [(NEW, EST)]


def test_more_than_the_ring_holds_are_counted_as_lost(balancer: Balancer, shared: SharedFlows) -> None:
    set_up(balancer, MOVING, 4)
    room = layout.SHARED_FLOWS_BYTES // (layout.SHARED_FLOW.itemsize + 8)
    sent = room + 50
    for number in range(sent):
        balancer.send(packets.tcp("A", source=f"198.51.{number // 200}.{number % 200 + 1}"))
    flows = shared.read()
    assert len(flows) + shared.lost() == sent
    assert shared.lost() in range(40, 60)
    balancer.send(packets.tcp("A", source="198.18.0.1"))
    assert len(shared.read()) == 1, "what was read makes room, also over the ring's end"


def record(version: int, *, flags: int = OPENED, port: int = packets.CLIENT_PORT) -> SharedRecords:
    one = np.zeros(1, SHARED_RECORD)
    client, vip = (packets.CLIENT6, packets.VIP6) if version == 6 else (packets.CLIENT, packets.VIP)
    for name, text in (("source", client), ("destination", vip)):
        number = int(ip_address(text))
        one[name] = (number >> 64, number & (1 << 64) - 1)
    one["source_port"], one["destination_port"] = port, packets.VIP_PORT
    one["version"], one["protocol"], one["flags"] = version, 6, EST | flags
    return one


def tell(balancer: Balancer, told_of: SharedRecords, backend_id: int) -> int:
    vip_id = (VIP6_IDS if told_of["version"][0] == 6 else VIP_IDS)[Protocol.TCP]
    columns = (np.array([number], np.uint16) for number in (vip_id, backend_id, EPOCH))
    return int(balancer.plane.tell_flows(told_of, *columns)[0])


def owner_of(balancer: Balancer, frame: bytes) -> int:
    got = balancer.send(frame).packet
    return next(number for number in (OLD, NEW) if got == packets.through_dr(frame, number))


def test_a_connection_that_another_balancer_has_told_of_goes_on(balancer: Balancer, make: Make, version: int) -> None:
    for slots, other in ((MOVING, NEW), (PINNED, OLD)):
        balancer.clear()
        set_up(balancer, slots, version)
        assert tell(balancer, record(version), other) == Fate.INSERTED
        assert tell(balancer, record(version), other) == Fate.KNOWN
        flags = balancer.plane.scan_flows().flags.tolist()
        assert flags == [EST | layout.FLOW_FROM_PEER]
        assert owner_of(balancer, make("A")) == other
        assert balancer.plane.scan_flows().flags.tolist() == [EST], "it is this balancer's own from now on"


def test_a_record_in_a_line_is_replaced_where_it_must_be(balancer: Balancer, make: Make, version: int) -> None:
    set_up(balancer, MOVING, version)
    assert owner_of(balancer, make("A")) == OLD
    assert tell(balancer, record(version, flags=0), NEW) == Fate.KNOWN
    assert owner_of(balancer, make("A")) == OLD
    assert tell(balancer, record(version), NEW) == Fate.CHANGED
    assert owner_of(balancer, make("A")) == NEW
    assert len(balancer.plane.scan_flows().backend) == 1
    assert tell(balancer, record(version, flags=FIN), NEW) == Fate.CHANGED
    assert balancer.plane.scan_flows().flags.tolist() == [EST | FIN]


def test_what_was_told_can_be_deleted(balancer: Balancer, make: Make, version: int) -> None:
    set_up(balancer, PINNED, version)
    tell(balancer, record(version), OLD)
    balancer.plane.delete_flows(balancer.plane.scan_flows())
    assert owner_of(balancer, make("A")) == NEW
