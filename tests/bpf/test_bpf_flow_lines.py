# SPDX-License-Identifier: Apache-2.0
"""Lines of flow records: a line has room for four, the kernel's table has the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address

import numpy as np
import pytest

from tests.bpf import packets
from tests.bpf.balancer import IDLE_SECONDS, VIP6_IDS, VIP_IDS, Balancer, backend, slot
from xdplb.dataplane import layout
from xdplb.dataplane.flow_lines import line_numbers
from xdplb.dataplane.flow_records import raw_key
from xdplb.dataplane.maps import BpfMap
from xdplb.model.vip import Protocol

pytestmark = pytest.mark.root

OLD, NEW = 1, 2
MOVING, PINNED = slot(NEW, OLD), slot(NEW, layout.SLOT_PINNED)
MORE = 7
"""Flows: more than a line has room for."""


class Flows:
    """Flows of one IP version whose records belong into the same line."""

    def __init__(self, balancer: Balancer, version: int) -> None:
        maps = balancer.plane.maps
        is6 = version == 6
        lines, others = (maps.flow_lines6, maps.flows6) if is6 else (maps.flow_lines, maps.flows)
        assert lines is not None
        assert others is not None
        self.lines, self.others = lines, others
        self.vip_id = (VIP6_IDS if is6 else VIP_IDS)[Protocol.TCP]
        client, vip = (packets.CLIENT6, packets.VIP6) if is6 else (packets.CLIENT, packets.VIP)
        self._balancer = balancer
        self._make: Callable[..., bytes] = packets.tcp6 if is6 else packets.tcp
        key = partial(raw_key, ip_address(client), destination=ip_address(vip), destination_port=80, protocol=6)
        ports = np.arange(1024, 13000)
        keys = np.array([np.frombuffer(key(source_port=port), np.uint64) for port in ports.tolist()])
        numbers = line_numbers(keys, lines.info.max_entries)
        self.number = int(np.bincount(numbers).argmax())
        self.ports: list[int] = ports[numbers == self.number][:MORE].tolist()
        balancer.set_up(MOVING, [backend(number, version=version, inner_version=version) for number in (OLD, NEW)])

    def talk(self, ports: Sequence[int]) -> list[int]:
        """Return which backends get a segment from these ports."""
        frames = [self._make("A", source_port=port) for port in ports]
        found = [self._balancer.send(frame).packet for frame in frames]
        return [OLD if got == packets.through_dr(frame, OLD) else NEW for frame, got in zip(frames, found, strict=True)]

    def in_line(self) -> np.ndarray:
        """Return the places of the line that have a record."""
        places = self.line()["places"][0]
        return places[places["ports"] != 0]

    def grow_old(self) -> None:
        """Let all in the line have been silent for longer than the idle timeout."""
        line = self.line()
        line["places"]["flow"]["last_seen"] -= np.uint64((IDLE_SECONDS + 5) * 10**9)
        self.lines.update(self.number, line)

    def line(self) -> np.ndarray:
        """Return the line as it is."""
        dtype = layout.FLOW_LINE if self.lines.info.value_size == layout.FLOW_LINE.itemsize else layout.FLOW6_LINE
        return np.frombuffer(self.lines.read(self.number), dtype).copy()


def count(table: BpfMap) -> int:
    return len(table.read_all()[0])


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def flows(balancer: Balancer, request: pytest.FixtureRequest) -> Flows:
    return Flows(balancer, request.param)


def test_flows_that_share_a_line_all_have_a_record(balancer: Balancer, flows: Flows) -> None:
    assert flows.talk(flows.ports) == [OLD] * MORE
    assert (len(flows.in_line()), count(flows.others)) == (layout.FLOW_WAYS, MORE - layout.FLOW_WAYS)
    balancer.write_slots(PINNED)
    assert flows.talk(flows.ports) == [OLD] * MORE
    counters = balancer.plane.counters().vips[flows.vip_id]
    assert (counters.records, counters.at_risk) == (MORE, 0)
    scanned = balancer.plane.scan_flows()
    assert sorted(scanned.source_port.tolist()) == flows.ports
    assert balancer.plane.flow_count() == MORE
    balancer.plane.delete_flows(scanned)
    assert (len(flows.in_line()), count(flows.others)) == (0, 0)
    assert flows.talk(flows.ports) == [NEW] * MORE


def test_a_silent_record_makes_room_where_there_is_no_other(balancer: Balancer, flows: Flows) -> None:
    flows.talk(flows.ports[:3])
    flows.grow_old()
    flows.talk(flows.ports[3:4])
    assert len(flows.in_line()) == layout.FLOW_WAYS, "an empty place is taken before one that may still be asked for"
    flows.talk(flows.ports[4:5])
    assert len(flows.in_line()) == layout.FLOW_WAYS
    assert count(flows.others) == 0
    assert balancer.plane.flow_count() == balancer.plane.counters().vips[flows.vip_id].records == layout.FLOW_WAYS
    balancer.write_slots(PINNED)
    assert flows.talk(flows.ports[3:5]) == [OLD] * 2


def test_a_place_that_another_cpu_writes_is_nobodys(balancer: Balancer, flows: Flows) -> None:
    flows.talk(flows.ports[:1])
    line = flows.line()
    line["places"]["ports"][0, 1:] = layout.FLOW_BUSY
    flows.lines.update(flows.number, line)
    flows.talk(flows.ports[1:2])
    assert (count(flows.others), balancer.plane.flow_count()) == (1, 2)
    line["places"]["ports"][0, 1:] = 0
    flows.lines.update(flows.number, line)
