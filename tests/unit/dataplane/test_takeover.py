# SPDX-License-Identifier: Apache-2.0
"""Maps put in the place of others: what they hold, and whatever ends the process on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.planes import HOP, KEY, V6, KernelKit, backend, table, vip
from tests.private_host import add_nic
from tests.unit.dataplane.loading import CAPACITY, change_source, forbid_compiling, in_child, left, program_on, up
from xdplb.dataplane import (
    carry,
    counter_mover,
    layout,
    libbpf,
    maps,
    older_layouts,
    pins,
    programs,
    takeover,
    versions,
)
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.features import Feature
from xdplb.dataplane.flow_lines import FlowLines, line_numbers
from xdplb.dataplane.flow_records import raw_key
from xdplb.dataplane.loader import unload
from xdplb.dataplane.map_layout import MapLayout, convert, dump_layouts, load_layouts
from xdplb.dataplane.map_specs import map_layouts
from xdplb.dataplane.maps import BpfMap, MapType
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.pins import Meta
from xdplb.dataplane.plane import BackendCounters, Capacity, NatWay, VipCounters
from xdplb.dataplane.remembered import Buckets, FlowId
from xdplb.dataplane.single import decap_counters, decap_down, decap_up
from xdplb.model.access import AccessList
from xdplb.model.errors import CapacityError, ConflictError
from xdplb.model.vip import Forward, QuicIds, RateLimits, Scheduler, VipKey

FEATURES = frozenset(
    {Feature.IPV6, Feature.WILDCARD, Feature.SCHEDULERS, Feature.QUIC, Feature.ACCESS, Feature.LIMITS, Feature.NAT}
)
LARGER = Capacity(vips=33, backends=100, flows=8192)
VIPS = [
    vip(0, KEY, has_access_list=True, limits=RateLimits(1, 30_001, 999_999_999, 1_000_000_000)),
    vip(1, VipKey.parse("203.0.113.11:53/tcp+udp")),
    vip(2, V6, scheduler=Scheduler.LC, track_always=True, candidates=2),
    vip(3, VipKey.parse("203.0.113.12:443/udp"), quic=QuicIds(8, 6)),
    vip(4, VipKey.parse("203.0.113.0/24:0/tcp+udp")),
    vip(5, VipKey.parse("[2001:db8::/32]:1000-2000/udp"), track_always=True),
]
BACKENDS = [
    backend(1, epoch=7),
    backend(2, epoch=9, vip_id=2, weight=5, usable=False),
    backend(64, next_hop=replace(HOP, mtu=9000), quic_server_id=b"12345678"),
    backend(
        3,
        forward=Forward.NAT,
        nat=NatWay(KEY.address, 8000, 8080, 8081, (6, 17)),
        next_hop=replace(HOP, source=KEY.address),
    ),
]
CLIENT = "192.0.2.7"
STRAY_AT = 12345
"""When a connection was last seen that its slot does not place."""

pytestmark = pytest.mark.root


def fill(plane: BccPlane) -> None:
    """Put something into every map that is worth carrying over."""
    kit = KernelKit(plane.maps)
    plane.write_access({0: AccessList(deny=(ip_network("192.0.2.0/24"),))})
    plane.write_vips(VIPS)
    plane.write_backends(BACKENDS)
    for number in (0, 2, 15):
        plane.write_table(number, table(number + 1))
    plane.write_loads({1: 11, 64: 3})
    kit.count_vip(2, VipCounters(100, 9999, 7, 1, 3))
    kit.count_backend(64, BackendCounters(30, 2999, 5))
    kit.count_reason("drop_no_backend", 5)
    kit.count_reason("answer_echo", 3)
    kit.add_flow(CLIENT, 1, KEY, backend=1, epoch=7)
    kit.add_flow(CLIENT, 2, KEY, backend=1, epoch=7, flags=0, probation=True)
    kit.add_flow("2001:db8::7", 3, V6, backend=2, vip_id=2, age=3)
    kit.fill_buckets(CLIENT, 0, Buckets(5, 6), Buckets(7, 8))
    plane.write_suspects([2])
    plane.maps.vip_strays.update(0, np.array([STRAY_AT], np.uint64))


def held(plane: BccPlane) -> dict[str, Any]:
    """Return all of it, as the plane reads it."""
    flows = plane.scan_flows()
    recalled = plane.recall(FlowId(KEY.address, 1, KEY.address, 1, 6), 0)
    kit = KernelKit(plane.maps)
    return {
        "vips": plane.read_vips(),
        "backends": plane.read_backends(),
        "tables": {number: found.tobytes() for number in range(16) if (found := plane.read_table(number)) is not None},
        "counters": plane.counters(),
        "flows": sorted(
            (key.tobytes(), backend, probation)
            for key, backend, probation in zip(flows.key, flows.backend.tolist(), flows.probation.tolist(), strict=True)
        ),
        "buckets": (
            recalled.vip_buckets,
            plane.recall(FlowId(VipKey.parse(f"{CLIENT}:1/tcp").address, 1, KEY.address, 1, 6), 0).source_buckets,
        ),
        "loads": recalled.loads,
        "second choices": (recalled.suspects, recalled.strays),
        "denied": kit.is_denied(0, CLIENT),
        "ports": sorted(dict(plane.maps.tx_ports.items())),
    }


@pytest.fixture
def filled(pin_dir: Path) -> dict[str, Any]:
    add_nic("eth1")
    plane = up(pin_dir, "eth0", "eth1", features=FEATURES)
    fill(plane)
    before = held(plane)
    assert all(before.values())
    return before


def start(pin_dir: Path, capacity: Capacity | None = LARGER) -> BccPlane:
    return up(pin_dir, "eth0", "eth1", capacity=capacity, features=FEATURES)


def start_and_end(pin_dir: Path) -> int:
    start(pin_dir)
    return 0


def test_more_room_is_taken_over_into(pin_dir: Path, filled: dict[str, Any]) -> None:
    before = program_on("eth0")
    plane = start(pin_dir)
    assert plane.capacity == LARGER
    assert held(plane) == filled
    assert program_on("eth0") == program_on("eth1") not in {0, before}
    assert not (pin_dir / "next").exists()
    plane.write_vips([*VIPS, replace(VIPS[1], id=32, key=VipKey.parse("203.0.113.99:1/tcp"))])
    plane.write_backends([backend(100)])


def test_it_is_one_more_program_and_the_next_start_needs_none(
    pin_dir: Path, filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del filled
    start(pin_dir)
    forbid_compiling(monkeypatch)
    assert start(pin_dir).capacity == LARGER
    assert start(pin_dir, None).capacity == LARGER


def test_maps_that_stay_as_they_are_stay_the_same(pin_dir: Path, filled: dict[str, Any]) -> None:
    del filled
    before = Maps.adopt(pin_dir)
    after = start(pin_dir, replace(CAPACITY, vips=33)).maps
    for name in ("flows", "flows6", "probation", "backends", "backend_stats", "reason_stats", "access4"):
        assert getattr(before, name).info.id == getattr(after, name).info.id, name
    assert before.vip_stats.info.id != after.vip_stats.info.id


def test_less_room_is_enough_for_what_is_used(pin_dir: Path, filled: dict[str, Any]) -> None:
    plane = start(pin_dir, Capacity(vips=16, backends=64, flows=64))
    assert plane.capacity.flows == 64
    assert held(plane) == filled


@pytest.mark.parametrize(
    ("capacity", "told"),
    [
        (Capacity(5, 64, 4096), "--max-vips 5 is too low: VIP id 5 is in use"),
        (Capacity(16, 63, 4096), "--max-backends 63 is too low: backend id 64 is in use"),
        (Capacity(16, 64, 3), "--max-flows 3 is too low: probation would have room for 0 records, and has 1"),
    ],
)
def test_too_little_room_is_refused_and_nothing_changes(
    pin_dir: Path, filled: dict[str, Any], capacity: Capacity, told: str
) -> None:
    before = program_on("eth0")
    with pytest.raises(CapacityError, match=told):
        start(pin_dir, capacity)
    assert program_on("eth0") == before
    plane = start(pin_dir, None)
    assert (plane.capacity, held(plane)) == (CAPACITY, filled)


def test_a_program_that_cannot_be_compiled_changes_nothing(
    pin_dir: Path, filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = program_on("eth0")
    with monkeypatch.context() as patched:
        patched.setattr("xdplb.dataplane.programs.compile_program", _refuse)
        with pytest.raises(ConflictError):
            start(pin_dir)
    assert program_on("eth0") == before
    assert not (pin_dir / "next").exists()
    assert held(start(pin_dir, None)) == filled


def _refuse(*_: object, **__: object) -> None:
    raise ConflictError("no")


def test_a_link_that_refuses_puts_the_others_back(
    pin_dir: Path, filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = program_on("eth0")
    original, swaps = libbpf.link_update, []

    def refuse_second(link: libbpf.Fd, program: libbpf.Fd) -> None:
        swaps.append(program)
        if len(swaps) == 2:
            raise OSError(12, "no")
        original(link, program)

    with monkeypatch.context() as patched:
        patched.setattr(libbpf, "link_update", refuse_second)
        with pytest.raises(Exception, match="not enough memory"):
            start(pin_dir)
    assert program_on("eth0") == program_on("eth1") == before
    assert held(start(pin_dir, None)) == filled


def test_what_packets_wrote_after_the_copy_is_carried_too(
    pin_dir: Path, filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As old programs do until the last link is swapped, and the new one from the first on."""
    old = KernelKit(Maps.adopt(pin_dir))
    original = programs.swap_links

    def swap(*arguments: Any) -> None:
        original(*arguments)
        new = Meta.open(pin_dir / "next")
        assert new.state == layout.META_READY
        old.add_flow(CLIENT, 50, KEY, backend=1, epoch=7)
        old.add_flow(CLIENT, 1, KEY, backend=1, epoch=8, age=-1)
        old.maps.probation.delete(old.maps.probation.read_all()[0][0].tobytes())
        old.count_vip(2, VipCounters(101, 10099, 8, 2, 4))
        old.count_reason("pass_no_vip", 9)
        old.maps.vip_strays.update(2, np.array([STRAY_AT], np.uint64))

    monkeypatch.setattr(takeover, "swap_links", swap)
    plane = start(pin_dir)
    flows = plane.scan_flows()
    there = dict(zip(flows.source_port.tolist(), flows.epoch.tolist(), strict=True))
    assert there == {1: 8, 3: 0, 50: 7}
    assert plane.counters().vips[2] == VipCounters(101, 10099, 8, 2, 4)
    assert plane.counters().reasons["pass_no_vip"] == 9
    assert plane.recall(FlowId(KEY.address, 1, KEY.address, 1, 6), 2).strays == STRAY_AT


@pytest.mark.parametrize("capacity", [LARGER, replace(CAPACITY, flows=64)], ids=["more room", "less"])
def test_records_in_lines_are_carried_too(
    pin_dir: Path, filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capacity: Capacity
) -> None:
    """Those from before the copy, one that came after it, and not one that was deleted then."""
    del filled
    old, original = Maps.adopt(pin_dir), programs.swap_links
    for port in (10, 11):
        put_in_line(old.flow_lines, flow_key(CLIENT, port, KEY))
    assert old.flow_lines6 is not None
    put_in_line(old.flow_lines6, flow_key("2001:db8::7", 12, V6))

    def swap(*arguments: Any) -> None:
        original(*arguments)
        put_in_line(old.flow_lines, flow_key(CLIENT, 13, KEY))
        with FlowLines(old.flow_lines) as lines:
            lines.delete_batch(np.frombuffer(flow_key(CLIENT, 11, KEY), np.uint8)[None, :])

    monkeypatch.setattr(takeover, "swap_links", swap)
    plane = start(pin_dir, capacity)
    there = sorted(plane.scan_flows().source_port.tolist())
    assert there == [1, 2, 3, 10, 12, 13]


def flow_key(source: str, port: int, vip: VipKey) -> bytes:
    return raw_key(ip_address(source), port, vip.address, vip.port, 6)


def put_in_line(lines: BpfMap, key: bytes) -> None:
    """Put a record into the first place of its line."""
    words = np.frombuffer(key, np.uint64)
    number = int(line_numbers(words[None, :], lines.info.max_entries)[0])
    line = np.zeros(1, layout.FLOW_LINE if len(words) == 2 else layout.FLOW6_LINE)
    place = line["places"][:, 0]
    place["addresses"], place["ports"] = words[:-1] if len(words) > 2 else words[0], words[-1]
    place["flow"] = (1, 7, layout.FLOW_ESTABLISHED, 0, time.monotonic_ns())
    lines.update(number, line)


# killed in any step


class Dies:
    """Ends the process, as kill -9 does, instead of the n-th call of a function."""

    def __init__(self, original: Callable[..., Any], number: int) -> None:
        self._original, self._left = original, number

    def method(self) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                os._exit(9)
            return self._original(*arguments, **named)

        return call


STEPS: list[tuple[str, object, str, int]] = [
    ("the first pin", maps.BpfMap, "pin", 1),
    ("a later pin", maps.BpfMap, "pin", 9),
    ("the program", takeover, "stage_program", 1),
    ("filling", carry.Pair, "fill", 4),
    ("catching up", carry.Pair, "catch_up", 2),
    ("being ready", pins.Meta, "create", 1),
    ("the first link", libbpf, "link_update", 1),
    ("the second link", libbpf, "link_update", 2),
    ("carrying", takeover, "_carry", 1),
    ("the counters", carry.Pair, "finish", 3),
    ("the first counter", counter_mover.CounterMover, "add", 1),
    ("a later counter", counter_mover.CounterMover, "add", 2),
    ("having carried", pins.Meta, "set_state", 1),
    ("the first move", Path, "replace", 1),
    ("a later move", Path, "replace", 7),
    ("the removal", takeover, "discard_staged", 2),
]


@pytest.mark.parametrize("step", [step[1:] for step in STEPS], ids=[step[0] for step in STEPS])
def test_killed_in_a_step_the_next_start_has_it_all(
    pin_dir: Path,
    filled: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[object, str, int],
) -> None:
    owner, name, number = step
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, Dies(getattr(owner, name), number).method())
        assert in_child(lambda: start_and_end(pin_dir)) == 9
    assert program_on("eth0") > 0
    assert program_on("eth1") > 0
    plane = start(pin_dir)
    assert plane.capacity == LARGER
    assert held(plane) == filled
    assert not (pin_dir / "next").exists()
    with libbpf.obj_get(pin_dir / "program") as program:
        assert program_on("eth0") == program_on("eth1") == libbpf.program_info(program).id


def test_killed_half_way_down_leaves_nothing(
    bpffs: Path, pin_dir: Path, filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del filled
    with monkeypatch.context() as patched:
        patched.setattr(takeover, "_carry", lambda *_: os._exit(9))
        assert in_child(lambda: start_and_end(pin_dir)) == 9
    assert unload(pin_dir)
    assert left(bpffs) == []


# layouts


def test_a_newer_layout_is_refused(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(versions.VERSIONS, "flows", 99)
        up(pin_dir)
    with pytest.raises(ConflictError, match="made by a newer xdplb: flows has layout 99, this xdplb knows up to 1"):
        up(pin_dir)
    assert program_on("eth0") > 0


def test_what_cannot_be_carried_over_says_why(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up(pin_dir)
    monkeypatch.setitem(versions.VERSIONS, "flows", 2)
    monkeypatch.setitem(versions.UNREADABLE, "flows", (2, "its keys are hashes now"))
    with pytest.raises(ConflictError, match="flows cannot be carried over from layout 1 to 2: its keys are") as refused:
        up(pin_dir)
    assert "xdplb down --all" in refused.value.hint
    assert program_on("eth0") > 0


def test_a_meta_of_tomorrow_is_refused(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("xdplb.dataplane.layout.LAYOUT_VERSION", 99)
        up(pin_dir)
    with pytest.raises(ConflictError, match="have layout 99, this xdplb knows 3 to 4"):
        up(pin_dir)


def test_pins_of_a_map_that_is_no_more_are_removed(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = up(pin_dir)
    layouts = map_layouts(CAPACITY) | {"moons": MapLayout(1, np.dtype("<u4"), np.dtype("<u8"))}
    (pin_dir / "meta").unlink()
    Meta.create(pin_dir, CAPACITY, frozenset(), layouts)
    plane.maps.answer_budget.pin(pin_dir / "moons")
    up(pin_dir)
    assert not (pin_dir / "moons").exists()


def test_a_newer_program_over_the_same_maps_is_only_swapped(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = up(pin_dir).maps
    change_source(monkeypatch)
    monkeypatch.setattr(takeover, "stage_program", _refuse)
    assert up(pin_dir).maps.flows.info.id == before.flows.info.id


OLD = np.dtype([("a", "<u4"), ("gone", "<u2"), ("unused", "u1", (2,)), ("inner", [("x", ">u2"), ("y", "u1")], (3,))])
NEW = np.dtype(
    [("inner", [("y", "u1"), ("z", "<u4"), ("x", ">u2")], (4,)), ("a", "<u8"), ("fresh", "<u2"), ("unused", "u1", (1,))]
)


def test_values_are_converted_by_the_names_of_their_fields() -> None:
    old = np.zeros(2, OLD)
    old["a"], old["gone"] = (1, 2**32 - 1), 9
    old["inner"]["x"][1], old["inner"]["y"][0, 2] = (7, 8, 9), 5
    new = convert(old, NEW)
    assert new["a"].tolist() == [1, 2**32 - 1]
    assert new["inner"]["x"].tolist() == [[0, 0, 0, 0], [7, 8, 9, 0]]
    assert new["inner"]["y"][0].tolist() == [0, 0, 5, 0]
    assert not new["fresh"].any()
    assert not new["inner"]["z"].any()
    assert convert(new, NEW) is new


def test_layouts_are_read_as_they_were_written_and_have_room_in_meta() -> None:
    """A quarter is left: what a version adds must never be the first thing that does not fit."""
    layouts = map_layouts(Capacity(vips=8192))
    assert load_layouts(dump_layouts(layouts)) == layouts
    assert len(dump_layouts(layouts)) < layout.LAYOUTS_ROOM * 3 // 4


def make_old(folder: Path) -> None:
    """Make the pins of a folder look as those of layout 3, which has no description of its maps."""
    value = BpfMap.open(folder / "meta").read(0)[:40]
    (folder / "meta").unlink()
    old = BpfMap.create(MapType.ARRAY, "meta", value_size=40)
    old.update(0, (3).to_bytes(4, "little") + value[4:])
    old.pin(folder / "meta")


def without_replies(pin_dir: Path) -> None:
    """Have the counters of VIPs as layout 3 had them, without the last field."""
    with BpfMap.open(pin_dir / "vip_stats") as stats:
        values, entries = stats.read_all()[1], stats.info.max_entries
    counted = np.ascontiguousarray(values).view(np.uint64).reshape(entries, -1, 6)
    (pin_dir / "vip_stats").unlink()
    with BpfMap.create(MapType.PERCPU_ARRAY, "vip_stats", value_size=40, max_entries=entries) as stats:
        for number in range(entries):
            stats.update(number, np.ascontiguousarray(counted[number, :, :5]))
        stats.pin(pin_dir / "vip_stats")


def without_rejects(pin_dir: Path) -> None:
    """Have the guards of VIPs as layout 3 had them, without the last two fields."""
    with BpfMap.open(pin_dir / "vip_guards") as guards:
        values, entries = guards.read_all()[1], guards.info.max_entries
    (pin_dir / "vip_guards").unlink()
    with BpfMap.create(MapType.ARRAY, "vip_guards", value_size=56, max_entries=entries) as guards:
        for number in range(entries):
            guards.update(number, np.ascontiguousarray(values[number])[:56])
        guards.pin(pin_dir / "vip_guards")


def test_layout_3_is_taken_over_with_its_reasons_renumbered(pin_dir: Path, filled: dict[str, Any]) -> None:
    (pin_dir / "reason_stats").unlink()
    with BpfMap.create(MapType.PERCPU_ARRAY, "reason_stats", value_size=8, max_entries=64) as stats:
        for number in range(23):
            stats.update(number, np.full(stats.value_bytes // 8, number, np.uint64))
        stats.pin(pin_dir / "reason_stats")
    without_replies(pin_dir)
    without_rejects(pin_dir)
    make_old(pin_dir)
    plane = start(pin_dir, None)
    cpus = libbpf.possible_cpus()
    counted = [plane.counters().reasons[name] for name in older_layouts.REASONS_OF_V3]
    assert counted == [number * cpus for number in range(23)]
    unknown_then: dict[str, Any] = {"counters": None, "second choices": (frozenset(), 0)}
    unknown_then["backends"] = {number: entry for number, entry in filled["backends"].items() if entry.nat is None}
    found = held(plane) | {"counters": None}
    found["backends"] = {number: entry for number, entry in found["backends"].items() if entry.nat is None}
    assert found == filled | unknown_then
    assert Meta.open(pin_dir).layout_version == layout.LAYOUT_VERSION


def test_decap_of_layout_3_goes_on_counting(pin_dir: Path) -> None:
    decap_up("eth0", pin_dir, [KEY.address])
    folder, before = pin_dir / "decap", program_on("eth0")
    with BpfMap.open(folder / "decap_stats") as stats:
        stats.update(4, np.full(stats.value_bytes // 8, 3, np.uint64))
    make_old(folder)
    decap_up("eth0", pin_dir, [KEY.address])
    assert decap_counters(pin_dir)["drop_ecn"] == 3 * libbpf.possible_cpus()
    assert program_on("eth0") not in {0, before}
    assert decap_down(None, pin_dir)
    assert not pin_dir.exists()
