# SPDX-License-Identifier: Apache-2.0
"""A program is tried on maps of its own: it behaves as the one in use, and nothing in the maps in use changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import ip_network

import numpy as np
import pytest

from tests.bpf.balancer import Balancer, Record, backend, slot, vip_entry
from xdplb.dataplane import layout
from xdplb.dataplane.map_specs import map_layouts
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.pinned_reader import PinnedReader
from xdplb.dataplane.pins import CODE
from xdplb.dataplane.program_code import ProgramCode
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.shadow import Limits, Rows, Shadow, Side, recorded_keys
from xdplb.model.access import AccessList
from xdplb.model.vip import Forward, Protocol, RateLimits, Scheduler
from xdplb.upgrade.comparing import differences
from xdplb.upgrade.naming import name_of
from xdplb.upgrade.sampling import Samples, samples

LOOPBACK = 1
VIPS = (
    vip_entry(1, "203.0.113.10:443/tcp"),
    vip_entry(2, "203.0.113.10:443/udp", track_always=True),
    vip_entry(3, "[2001:db8:f::10]:443/tcp"),
    vip_entry(5, "203.0.113.11:443/tcp", scheduler=Scheduler.RR, track_always=True),
    vip_entry(6, "203.0.113.12:443/tcp", scheduler=Scheduler.P2C, track_always=True),
    vip_entry(7, "203.0.113.13:443/tcp", scheduler=Scheduler.LC, track_always=True, candidates=3),
    vip_entry(8, "203.0.113.14:443/tcp", limits=RateLimits(source_new_flows=1, new_flows=5)),
    vip_entry(9, "203.0.113.15:443/tcp", has_access_list=True),
    vip_entry(10, "203.0.114.0/24:8000-8999/tcp"),
)


@pytest.fixture
def busy(balancer: Balancer) -> Iterator[Balancer]:
    """A balancer with VIPs of all kinds, some slots moving, and a recorded flow."""
    plane = balancer.plane
    plane.write_backends([backend(1), backend(2, forward=Forward.IPIP), backend(3, forward=Forward.GUE, version=6)])
    slots = np.resize(np.array([slot(1), slot(2), slot(3)], np.uint32), layout.TABLE_SIZE)
    slots[::50] = slot(1, 2)
    slots[1::50] = slot(2, layout.SLOT_PINNED)
    plane.start_vips([vip.id for vip in VIPS])
    for vip in VIPS:
        plane.write_table(vip.id, slots)
    plane.write_access({9: AccessList(deny=(ip_network("64.0.0.0/2"),))})
    plane.write_vips(list(VIPS))
    balancer.write_record(Protocol.TCP, Record(2))
    yield balancer
    plane.write_vips([])
    plane.write_access({})


def side_of(balancer: Balancer) -> Side:
    folder, capacity = balancer.plane.maps.pin_dir, balancer.plane.capacity
    code = ProgramCode.open(folder / CODE)
    assert code is not None
    return Side(code, folder, map_layouts(capacity))


def samples_for(side: Side) -> Samples:
    return samples(PinnedReader(side.folder), recorded_keys(side), [], frozenset(), seed=7)


def all_maps(balancer: Balancer) -> Mapping[str, bytes]:
    """Return what is in all maps that packets write to."""
    maps = balancer.plane.maps
    names = ("reason_stats", "vip_stats", "backend_stats", "backend_loads", "flow_lines", "flow_lines6", "vip_buckets")
    found: dict[str, BpfMap | None] = {name: getattr(maps, name) for name in names}
    read = {name: one.read_all()[1].tobytes() for name, one in found.items() if one is not None}
    tables = ("flows", "flows6", "probation", "probation6", "fragments", "source_buckets")
    return read | {name: bytes(str(sorted(getattr(maps, name).items())), "ascii") for name in tables}


def test_the_same_program_is_equal_and_leaves_no_trace(busy: Balancer) -> None:
    side, before = side_of(busy), all_maps(busy)
    tried_with = samples_for(side)
    tried = differences("xdplb", side, side, tried_with, [LOOPBACK])
    assert [str(each) for each in tried.differences] == []
    assert tried.frames > 2000
    assert all_maps(busy) == before


def test_the_frames_meet_nearly_all_that_can_become_of_a_packet(busy: Balancer) -> None:
    side = side_of(busy)
    tried_with, met = samples_for(side), Counter[str]()
    with Shadow("xdplb", side, Rows()) as shadow:
        shadow.load()
        met.update(name_of(shadow.run(each.frame, LOOPBACK)) for each in tried_with.ordinary)
        shadow.limit(Limits.TIGHT)
        met.update(name_of(shadow.run(each.frame, LOOPBACK)) for each in tried_with.limited)
    assert met["sent"] > sum(met.values()) / 3
    missed = {reason.name for reason in REASONS} - met.keys()
    cannot_be = {"drop_no_headroom", "drop_internal"}
    not_set_up = {"drop_no_backend", "drop_backend_down", "drop_backend_rate", "drop_too_big", "pass_tunnel_error"}
    not_set_up |= {"pass_nat_reply", "answer_rejected", "drop_ecn", "drop_tunnel_source", "pass_tunnel"}
    assert missed <= cannot_be | not_set_up


def test_records_and_slots_are_those_in_use(busy: Balancer) -> None:
    """The recorded flow goes to the backend of its record, not to that of its slot."""
    side = side_of(busy)
    made = [each for each in samples_for(side).ordinary if "made from a flow record" in each.words]
    assert made
    with Shadow("xdplb", side, Rows()) as shadow:
        shadow.load()
        assert shadow.run(made[1].frame, LOOPBACK).frame == busy.send(made[1].frame).packet
