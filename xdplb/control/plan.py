"""From what was asked, seen and held to the steps that make the maps right: a pure function, so that it can be shown.

The steps are in an order in which a packet between any two of them finds something valid. A backend is written before
a table names it, and taken out of use after no table sends new connections to it; a table is there before its VIP,
and goes after it; an id that changes hands is first taken from its old holder everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from xdplb.balance import slots
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.table import WeightedBackend, build
from xdplb.control.describe_steps import describe_steps
from xdplb.control.eligibility import Observed, Use, Verdict, judge
from xdplb.control.entries import backend_entry
from xdplb.control.records import BackendRecord, State, VipRecord
from xdplb.control.steps import (
    ClearBackends,
    DeleteTable,
    Held,
    ResetVipCounters,
    Step,
    TableSource,
    WriteBackends,
    WriteTable,
    WriteVips,
)
from xdplb.dataplane.plane import BackendEntry, DataPlane, Slots, VipEntry
from xdplb.model.vip import Protocol, Tracking, VipKey

__all__ = ["Plan", "plan"]

_NOBODYS: Slots = np.zeros(TABLE_SIZE, np.uint32)
_NOBODYS.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps for the data plane, in order; what each backend is used for once they are done, by id; table sources."""

    steps: tuple[Step, ...]
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    sources: Mapping[int, TableSource] = field(default_factory=dict)

    @property
    def tables(self) -> tuple[WriteTable, ...]:
        """The tables that are published, with the slots that move."""
        return tuple(step for step in self.steps if isinstance(step, WriteTable))

    def apply(self, plane: DataPlane) -> None:
        """Take every step. Blocks. After a PlatformError, read what is held and plan again."""
        for step in self.steps:
            step.apply(plane)

    def after(self, held: Held) -> Held:
        """Return what the maps hold once all steps are done."""
        for step in self.steps:
            held = step.record(held)
        return replace(held, sources=self.sources)

    def describe(self) -> tuple[str, ...]:
        """Return what the steps do to traffic, a sentence each."""
        return describe_steps(self.steps, self.verdicts)


def plan(state: State, observed: Observed, held: Held) -> Plan:
    """Return the steps from what the maps hold to what `state` asks for, as far as what was seen allows.

    The same arguments give the same plan; once it is done, the next plan has no steps.
    """
    verdicts = {key: verdict for vip in state.vips.values() for key, verdict in judge(vip, observed).items()}
    first: tuple[Step, ...] = ()
    vacated = _without_reused_ids(state, held)
    if vacated is not state:
        first = _steps(vacated, verdicts, observed, held)
        held = Plan(first, sources=_sources(vacated, verdicts)).after(held)
    return Plan(first + _steps(state, verdicts, observed, held), verdicts, _sources(state, verdicts))


def _without_reused_ids(state: State, held: Held) -> State:
    """Return the state without VIPs and backends whose id the maps still hold for another; the same if none is."""
    vips: dict[VipKey, VipRecord] = {}
    for key, vip in state.vips.items():
        if vip.id in held.vips and held.vips[vip.id].key != key:
            continue
        kept = {
            address: record
            for address, record in vip.backends.items()
            if (entry := held.backends.get(record.id)) is None or _is_holder(vip, record, entry)
        }
        vips[key] = vip if len(kept) == len(vip.backends) else replace(vip, backends=kept)
    unchanged = len(vips) == len(state.vips) and all(vips[key] is vip for key, vip in state.vips.items())
    return state if unchanged else replace(state, vips=vips)


def _is_holder(vip: VipRecord, record: BackendRecord, entry: BackendEntry) -> bool:
    return (entry.vip_id, entry.epoch, entry.address) == (vip.id, record.epoch, record.backend.address)


def _steps(state: State, verdicts: Mapping[int, Verdict], observed: Observed, held: Held) -> tuple[Step, ...]:
    vips = {vip.id: VipEntry.of(vip.id, vip.vip) for vip in state.vips.values()}
    backends = {
        record.id: backend_entry(vip, record, verdicts[record.id], observed) for vip, record in state.backends()
    }
    early, late = _backend_writes(backends, held)
    ordered = sorted(state.vips.values(), key=lambda vip: vip.id)
    steps: list[Step] = []
    if early:
        steps.append(WriteBackends(early))
    if new := tuple(sorted(vips.keys() - held.vips.keys())):
        steps.append(ResetVipCounters(new))
    steps += [step for vip in ordered if (step := _table(vip, verdicts, held)) is not None]
    if vips != held.vips:
        steps.append(WriteVips(tuple(vips[vip_id] for vip_id in sorted(vips))))
    if late:
        steps.append(WriteBackends(late))
    steps += [DeleteTable(vip_id) for vip_id in sorted(held.tables.keys() - vips.keys())]
    if gone := tuple(sorted(held.backends.keys() - backends.keys())):
        steps.append(ClearBackends(gone))
    return tuple(steps)


def _backend_writes(
    wanted: Mapping[int, BackendEntry], held: Held
) -> tuple[tuple[BackendEntry, ...], tuple[BackendEntry, ...]]:
    """Return the backends to write before tables are published and those, no longer usable, to write after."""
    early: list[BackendEntry] = []
    late: list[BackendEntry] = []
    for backend_id in sorted(wanted):
        entry, present = wanted[backend_id], held.backends.get(backend_id)
        if entry != present:
            (late if present is not None and present.usable and not entry.usable else early).append(entry)
    return tuple(early), tuple(late)


def _table(vip: VipRecord, verdicts: Mapping[int, Verdict], held: Held) -> WriteTable | None:
    """Return the step that publishes the VIP's table, None where the one that is there is right."""
    present = held.vips.get(vip.id)
    before = held.tables.get(vip.id) if present is not None else None  # without its VIP it may be anybody's
    source = _source(vip, verdicts)
    stops_recording = present is not None and present.track_always and vip.vip.tracking is not Tracking.ALWAYS
    if before is not None and held.sources.get(vip.id) == source and not stops_recording:
        return None
    after = _moved(vip, source, _NOBODYS if before is None else before, stops_recording=stops_recording)
    if before is None:
        before = _NOBODYS
    elif np.array_equal(before, after):
        return None
    changed = (before ^ after) & np.uint32(0xFFFF) != 0
    return WriteTable(vip.id, vip.vip.key, after, before, changed & slots.is_moving(after), source)


def _moved(vip: VipRecord, source: TableSource, before: Slots, *, stops_recording: bool) -> Slots:
    owners = build(source.configured, source.out)
    if vip.vip.key.protocol is Protocol.UDP:  # its slots are steady: the program looks at no previous owner
        return slots.pack(owners, np.zeros_like(owners))
    if stops_recording:
        before = slots.pin_all(before)
    return slots.move(before, owners, gone=slots.named(before) - source.kept)


def _sources(state: State, verdicts: Mapping[int, Verdict]) -> dict[int, TableSource]:
    return {vip.id: _source(vip, verdicts) for vip in state.vips.values()}


def _source(vip: VipRecord, verdicts: Mapping[int, Verdict]) -> TableSource:
    records = sorted(vip.backends.values(), key=lambda record: record.id)
    uses = {record.id: verdicts[record.id].use for record in records}
    return TableSource(
        tuple(WeightedBackend(str(record.backend.address), record.id, record.backend.weight) for record in records),
        frozenset(backend_id for backend_id, use in uses.items() if use is not Use.SERVING),
        frozenset(backend_id for backend_id, use in uses.items() if use is not Use.OUT),
    )
