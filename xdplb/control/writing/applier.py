# SPDX-License-Identifier: Apache-2.0
"""The blocking side of the writer: what the maps hold, and how they are brought to the desired state.

Everything here runs in the thread of the maps, except `require`, and attributes, which may be read from any thread:
they are replaced as a whole, never changed in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.held_table import HeldTable
from xdplb.control.events import (
    DriftKind,
    Events,
    ProgramSwapped,
    SlotsPinned,
    SlotsSteady,
    StaleFlowsDeleted,
    TablePublished,
)
from xdplb.control.flows.evictions import Evictions
from xdplb.control.flows.settle import MoveTimes, Scan, find_release, select, stale_records
from xdplb.control.flows.telling import Arrived, Finder, Placed, moving_slots, place, slots_to_move
from xdplb.control.plan.drafting import draft
from xdplb.control.plan.drafts import TableSource
from xdplb.control.plan.eligibility import Eligibility, Observed
from xdplb.control.plan.forecast import Forecast, Present, check_room, forecast
from xdplb.control.plan.plan import Plan, plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.differing import differing, without
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.nics import NicKeeper
from xdplb.control.writing.policy_events import policy_events
from xdplb.control.writing.reading import Found, read_found, read_held
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import Attachment, BackendCounters, DataPlane, FlowRecords, Mark, VipCounters, VipEntry
from xdplb.dataplane.told_flows import Fate
from xdplb.model.address import IPAddress
from xdplb.model.durations import Durations
from xdplb.model.key import Protocol
from xdplb.model.nic import DesiredNic
from xdplb.model.shared_record import SharedRecords, SharedSlots
from xdplb.model.vip import HashKind

__all__ = ["Applier"]

_NO_VIPS: Mapping[int, VipEntry] = MappingProxyType({})
_LOOK_SECONDS = 0.002
_OTHER_PARTS = 32


class Applier:
    """Keeps track of what the data plane holds, and changes it by plans and by settling slots."""

    def __init__(
        self,
        plane: DataPlane,
        clock: Callable[[], float],
        events: Events,
        drifts: Drifts,
        nics: Sequence[DesiredNic] = (),
    ) -> None:
        self._plane, self._clock, self._events, self._drifts = plane, clock, events, drifts
        self.nics = NicKeeper(plane, nics, clock, events, drifts)
        self._found: Found | None = None
        self._held: Held | None = None
        self._unsettled: frozenset[int] = frozenset()
        self._by_load: tuple[Mapping[int, VipEntry], frozenset[int]] = _NO_VIPS, frozenset()
        self.known = Held()
        """What the maps held when it was last known, never None."""
        self._times = MoveTimes()
        self._mark: Mark | None = None
        self._swept = False
        self._round: Iterator[str] | None = None
        self._changed: set[str] = set()
        """The maps in which something was found changed in this round."""
        self._printed: dict[int, TableSource] = {}
        """By VIP id, what the table was made from when its fingerprint was looked at last."""
        self.eligibility: Mapping[int, Eligibility] = {}
        self.steps_due: Mapping[int, datetime] = {}
        """When backends that ramp up get more, by VIP id. Replaced as a whole."""
        self.evictions = Evictions()
        self._finder = Finder()
        self._told: list[tuple[int, int, NDArray[np.uint32]]] = []
        self._pinned_by_told: dict[int, frozenset[int]] = {}
        """By VIP id, the slots that are pinned only since another balancer has told of a record in them."""
        self.peers_late_seconds = 0.0
        """How much sooner or later other balancers may take a change; 0 if there are none."""
        self.updates = Durations()
        """How long it took to bring the maps from one state to the next."""
        self.times_told = 0
        """How often records of other balancers have been written, in any thread."""

    @property
    def features(self) -> Features:
        """What the program is compiled for."""
        return self._plane.features

    @property
    def tables(self) -> Mapping[int, HeldTable]:
        """The tables as last published, by VIP id. They are never changed, only replaced."""
        return self.known.tables

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The NICs that the program is on, as last seen."""
        return self.nics.attachments

    def find(self) -> Found:
        """Return what a start finds in the maps, without reading the tables."""
        if self._found is None:
            self._found = read_found(self._plane)
        return self._found

    def adopt(self, snapshot: Snapshot, observed: Observed) -> None:
        """Take the maps over as they were found, and bring them to the snapshot; as of `bring`.

        Only the tables are read that are not known to be what is wanted.
        """
        found, self._found = self.find(), None
        drafts = {vip.id: draft(vip, observed, found.backends, None) for vip in snapshot.vips.values()}
        self._hold(read_held(self._plane, found, drafts))
        self._bring(plan(snapshot, observed, self.read(), made=drafts), None)

    def read(self) -> Held:
        """Return what the maps hold: from memory if that is up to date, otherwise from the maps."""
        if self._held is None:
            held = read_held(self._plane, read_found(self._plane), self.known.drafts)
            # Lists of VIPs that are gone may still be there, though no VIP has one any more.
            self._hold(held if self.known.access == {} else replace(held, access=None))
        assert self._held is not None
        return self._held

    def addresses_in_use(self) -> frozenset[IPAddress]:
        """Return the addresses of the backends that packets may be sent to, as a start finds them."""
        return frozenset(entry.address for entry in self.find().backends.values() if entry.usable)

    def present_of(self, held: Held, flows: NDArray[np.int64] | None = None) -> Present:
        """Return the present situation as input of a forecast, if the maps hold `held`; `flows` are as in Present."""
        return Present(held, self._plane.features, self.eligibility, flows)

    def forecast(
        self,
        before: Snapshot,
        after: Snapshot,
        observed: Observed,
        *,
        only: AbstractSet[int] | None,
        seen: Mapping[int, AbstractSet[int]],
        about: AbstractSet[int] | None,
        flows: NDArray[np.int64] | None,
    ) -> Forecast:
        """Return the plan that brings the maps to `after`, with its impact; CapacityError if the maps have no room."""
        check_room(before, after, self._plane.capacity)  # first: it is known also while the maps cannot be read
        return forecast(before, after, observed, self.present_of(self.read(), flows), only=only, seen=seen, about=about)

    def bring(
        self,
        snapshot: Snapshot,
        observed: Observed,
        only: AbstractSet[int] | None = None,
        seen: Mapping[int, AbstractSet[int]] = MappingProxyType({}),
    ) -> None:
        """Plan and carry out the plan; the arguments are those of `plan`.

        Raises PlatformError; the maps are then read again the next time.
        """
        self._bring(plan(snapshot, observed, self.read(), only, seen), only)

    def _bring(self, planned: Plan, only: AbstractSet[int] | None) -> None:
        held = self.read()
        self.require(planned.features)
        self._carry_out(planned, held, planned.after(held), only)

    def carry_out(self, forecast: Forecast, only: AbstractSet[int] | None, generation: int) -> None:
        """Carry out the plan of a forecast that was made for what the maps hold now; note the generation then."""
        self._carry_out(forecast.plan, forecast.held, forecast.after, only)
        if not self.is_marked(generation):
            self.brought_to(generation)

    def holds(self, forecast: Forecast) -> bool:
        """Return whether the maps hold what this forecast was made for, between changes of the maps."""
        return self._held is forecast.held

    def _carry_out(self, planned: Plan, made_for: Held, after: Held, only: AbstractSet[int] | None) -> None:
        began = time.perf_counter()
        with self._changing() as held:
            assert held is made_for, "nothing changes the maps between a plan and this"
            if not self._swept:
                self._sweep(held)
            # If records may now be found that were not looked up before, all stale ones must be deleted. It is noted
            # before the maps change, so that it is still due if a step fails.
            self._swept = self._swept and not _finds_other_records(held.vips, after.vips)
            if gone := differing(held.vips, after.vips).gone:  # read their counters while they are there
                self.evictions.gone(self._plane.vip_counters(gone))
            planned.apply(self._plane)
            for table in planned.tables:
                self._events.say(TablePublished(str(table.key), len(table.moved)))
            self._hold(after)
            self._follow_policies(planned, made_for, after)
            if not self._swept:
                self._sweep(after)
            if only is None:
                self.eligibility = planned.eligibility
            else:
                gone_ids = [number for number in planned.cleared if number in self.eligibility]
                self.eligibility = without(self.eligibility, gone_ids) | planned.eligibility
        self.updates.note(time.perf_counter() - began)

    def _follow_policies(self, planned: Plan, before: Held, after: Held) -> None:
        """Tell of what has begun or ended by a plan, and note when backends that ramp up get more."""
        for vip_id, made in planned.drafts.items():
            if (known := before.drafts.get(vip_id)) is not None or vip_id not in before.vips:
                for event in policy_events(known, made):
                    self._events.say(event)
        due = {vip_id: made.next_step for vip_id, made in planned.drafts.items() if made.next_step is not None}
        if due or self.steps_due:
            later = dict(self.steps_due)
            for vip_id in (self.steps_due.keys() - after.vips.keys()) | (self.steps_due.keys() & planned.drafts.keys()):
                del later[vip_id]
            later.update(due)
            self.steps_due = later

    def belong_to(self, instance: int, generation: int) -> None:
        """Make the maps those of a state, before they are changed; they hold what they hold of it after `brought_to`.

        Until then a mark that would make the state look older, or another's, must not be found.
        """
        self._mark = self._plane.read_mark()
        if self._mark is None or self._mark.instance != instance or self._mark.generation > generation:
            self._write_mark(Mark(instance, 0))

    def is_marked(self, generation: int) -> bool:
        """Return whether the maps say that they hold this generation, in any thread."""
        return self._mark is None or self._mark.generation == generation

    def brought_to(self, generation: int) -> None:
        """Note that the maps hold this generation completely."""
        if self._mark is not None:
            self._write_mark(Mark(self._mark.instance, generation))

    def _write_mark(self, mark: Mark) -> None:
        self._plane.write_mark(mark)
        self._mark = mark

    def require(self, features: Features) -> None:
        """Recompile the program with these features added, in any thread; PlatformError if it cannot be loaded.

        Takes seconds; the maps may be written meanwhile.
        """
        before, began = self._plane.features, time.monotonic()
        self._plane.require(features)
        if added := self._plane.features - before:
            self._events.say(ProgramSwapped(", ".join(sorted(added)), round(time.monotonic() - began, 2)))

    def packets(self, backend_ids: Collection[int]) -> Mapping[int, BackendCounters]:
        """Return the counters of these backends, by id."""
        return self._plane.backend_counters(backend_ids)

    def vip_packets(self, vip_ids: Collection[int]) -> Mapping[int, VipCounters]:
        """Return the counters of these VIPs, by id."""
        return self._plane.vip_counters(vip_ids)

    @property
    def knows_the_maps(self) -> bool:
        """Whether it is known what the maps hold. After a failure it is not, until everything is planned again."""
        return self._held is not None and self._held.access is not None

    @property
    def parts(self) -> int:
        """About how many parts `verify` has to look at in a round."""
        return len(self.tables) + _OTHER_PARTS

    def verify(self, most: int) -> int:
        """Look at up to `most` parts of the maps, for some milliseconds; return at how many, `most` if a round is over.

        A part that another process has changed is written again, and an event says so. Nothing is done while it is
        not known what the maps should hold, since a change has failed: it is retried, which writes everything.
        """
        end, done = time.perf_counter() + _LOOK_SECONDS, 0
        while done < most and self._held is not None:
            if self._round is None:
                self._round, self._changed = self._verification(), set()
            changed = next(self._round, None)
            if changed is None:
                self._round = None
                break
            if changed:
                self._say_changed(changed)
            done += 1
            if time.perf_counter() >= end:
                return done
        return most

    def _say_changed(self, name: str) -> None:
        """Tell of a map once a round: thousands of tables are parts of one."""
        if name in self._changed:
            self._drifts.counted(DriftKind.MAP, repaired=True)
            return
        self._changed.add(name)
        self._drifts.repaired(DriftKind.MAP, name, f"another process has changed the map {name}; it is written again")

    def _verification(self) -> Iterator[str]:
        """Verify a part at each step; yield the map in which something had to be written again, else an empty string.

        Changes may come between two steps.
        """
        yield from self._plane.verify()
        for vip_id in list(self.tables):
            table = self.tables.get(vip_id)
            if table is not None:
                changed = self._plane.restore_table(vip_id, table.slots)
                self._write_print(vip_id, table)
                yield "vip_tables" if changed else ""
        for vip_id in self._plane.table_ids():
            if vip_id not in self.tables:
                self._plane.delete_table(vip_id)
                yield "vip_tables"

    def _write_print(self, vip_id: int, table: HeldTable) -> None:
        """Let the next daemon know a table that is right as it is, though it was not written as its draft says.

        A table stays as it is if another weight makes no difference to it, or if an older xdplb wrote it.
        """
        made_from = self.known.drafts.get(vip_id)
        if made_from is not None and table.is_steady and self._printed.get(vip_id) is not made_from.table:
            self._plane.write_print(vip_id, made_from.table.fingerprint)
            self._printed[vip_id] = made_from.table

    @property
    def unsettled(self) -> frozenset[int]:
        """The ids of the VIPs with slots that are not steady."""
        return self._unsettled

    def settle(self, scan: Scan | None, only: AbstractSet[int] | None = None) -> None:
        """Pin moving slots whose idle timeout has passed, and make steady the pinned ones that `scan` shows settled.

        With `only`, in the tables of the VIPs with these ids: of thousands a part at a time, since a flip waits for it.
        """
        with self._changing() as before:
            unsettled = self._unsettled & before.vips.keys()
            chosen = sorted(unsettled if only is None else unsettled & only)
            pinned = replace(before, tables={**before.tables, **self._pin(before, chosen)})
            self._hold(replace(pinned, tables={**pinned.tables, **self._release(pinned, chosen, scan)}))
            self._told = [each for each in self._told if scan is not None and each[0] > scan.told]

    def take(self, records: SharedRecords) -> Arrived:
        """Write records that another balancer has told of, where slots do not say the same.

        A steady slot that says otherwise is pinned first: such a record must count before this balancer takes the
        change that the other one has taken, and whatever each thinks of its backends' health.
        """
        with self._changing() as held:
            self._finder.look(held.vips, held.backends)
            placed = place(records, self._finder, held.tables, held.ids)
            pinned = {
                vip_id: self._pin_for(held, vip_id, placed.slots[placed.pinned & (placed.vips == vip_id)])
                for vip_id in np.unique(placed.vips[placed.pinned]).tolist()
            }
            if pinned:
                self._hold(replace(held, tables={**held.tables, **pinned}))
            told = np.flatnonzero(placed.written)
            fates = self._plane.tell_flows(records[told], placed.vips[told], placed.backends[told], placed.epochs[told])
            self._note_told(placed, told)
            inserted, changed = (int(np.count_nonzero(fates == fate)) for fate in (Fate.INSERTED, Fate.CHANGED))
            self.evictions.added(inserted)
            known = int(np.count_nonzero(placed.found)) - inserted - changed
            return Arrived(inserted, changed, known, records[~placed.found])

    def _pin_for(self, held: Held, vip_id: int, slots: NDArray[np.uint32]) -> HeldTable:
        table = held.tables[vip_id].with_pinned(slots)
        self._write_table(held, vip_id, table)
        self._pinned_by_told[vip_id] = self._pinned_by_told.get(vip_id, frozenset()) | frozenset(slots.tolist())
        return table

    def _note_told(self, placed: Placed, told: NDArray[np.intp]) -> None:
        """Note which slots have got records: a scan that has begun may not have seen them.

        In a VIP whose slots are all steady none waits for a scan, and `settle`, which forgets them, does not run.
        """
        self.times_told += 1
        for vip_id in self._unsettled.intersection(placed.vips[told].tolist()):
            slots = placed.slots[told][placed.vips[told] == vip_id]
            self._told.append((self.times_told, vip_id, slots))

    def take_over(self, slots: SharedSlots) -> None:
        """Let slots of a VIP move here that move at another balancer, from the same owners."""
        with self._changing() as held:
            self._finder.look(held.vips, held.backends)
            vip = self._finder.of_key(slots.key)
            if vip is not None and not vip.track_always and vip.key.protocol is not Protocol.UDP:
                self._move_as_told(held, vip, slots)

    def _move_as_told(self, held: Held, vip: VipEntry, told: SharedSlots) -> None:
        table, ids = held.tables[vip.id], held.ids.get(vip.id, frozenset())
        found = [self._finder.backend(vip.id, ids, address) for address in told.addresses]
        now = self._clock()
        numbers, previous, ages = slots_to_move(
            told,
            table,
            self._times.ages(vip.id, now),
            [0 if entry is None else entry.id for entry in found],
            vip.idle_seconds + min(self.peers_late_seconds, vip.idle_seconds),
            pinned=np.fromiter(self._pinned_by_told.get(vip.id, ()), np.uint32),
        )
        if not len(numbers):
            return
        after = table.with_moving(numbers, previous)
        self._write_table(held, vip.id, after)
        self._hold(replace(held, tables={**held.tables, vip.id: after}))
        self._times.moved_before(vip.id, numbers, now - ages)

    def moving(self) -> tuple[SharedSlots, ...]:
        """Return the moving slots of all VIPs, as other balancers are told of them."""
        held, now = self.read(), self._clock()
        found = [
            moving_slots(held.vips[vip_id].key, held.tables[vip_id], self._times.ages(vip_id, now), held.backends)
            for vip_id in sorted(self._unsettled & held.vips.keys())
        ]
        return tuple(each for each in found if each is not None)

    def delete_records(self, flows: FlowRecords, chosen: NDArray[np.intp]) -> None:
        """Delete the chosen records of a scan, of backends that get no packets any more."""
        if len(chosen):
            self._delete(flows, chosen)

    def needs_scan(self) -> bool:
        """Return whether a scan is needed: for pinned slots of a VIP that records only what moves, or for loads."""
        vips = self._held.vips if self._held is not None else {}
        return bool(self.choosing_by_load()) or any(
            self.tables[vip_id].counts.pinned and vip_id in vips and not vips[vip_id].track_always
            for vip_id in self._unsettled
        )

    def choosing_by_load(self) -> frozenset[int]:
        """Return the ids of the VIPs whose scheduler chooses by load."""
        vips = self._held.vips if self._held is not None else _NO_VIPS
        of, found = self._by_load
        if vips is not of:  # they are replaced as a whole, and this is asked every second
            found = frozenset(vip_id for vip_id, vip in vips.items() if vip.scheduler.is_by_load)
            self._by_load = vips, found
        return found

    def _pin(self, held: Held, vip_ids: Sequence[int]) -> Mapping[int, HeldTable]:
        """Publish and return the tables of these VIPs in which slots are pinned now."""
        pinned: dict[int, HeldTable] = {}
        for vip_id in vip_ids:
            vip = held.vips[vip_id]
            late = min(self.peers_late_seconds, vip.idle_seconds)
            table = self._times.pinned(vip_id, held.tables[vip_id], self._clock(), vip.idle_seconds, late)
            if table is not None:
                self._write_table(held, vip_id, table)
                pinned[vip_id] = table
                self._events.say(SlotsPinned(str(vip.key), table.counts.pinned))
        return pinned

    def _release(self, held: Held, vip_ids: Sequence[int], scan: Scan | None) -> Mapping[int, HeldTable]:
        """Publish and return the tables of these VIPs in which slots are steady now, then delete the slots' records."""
        found = {
            vip_id: released
            for vip_id in vip_ids
            if held.tables[vip_id].counts.pinned
            and (released := find_release(held.vips[vip_id], held.tables[vip_id], scan, self._told_in(vip_id, scan)))
            is not None
        }
        swept, self._swept = self._swept, False  # if deleting the records fails, the next change sweeps them
        for vip_id, released in found.items():
            self._write_table(held, vip_id, released.table)
        stale = [released.stale for released in found.values() if len(released.stale)]
        if scan is not None and stale:
            self._delete(scan.flows, np.concatenate(stale))
        self._swept = swept
        for vip_id, released in found.items():
            self._events.say(SlotsSteady(str(held.vips[vip_id].key), released.table.counts.pinned))
        return {vip_id: released.table for vip_id, released in found.items()}

    def _told_in(self, vip_id: int, scan: Scan | None) -> NDArray[np.uint32]:
        """Return the slots of a VIP in which records of other balancers were written since a scan began."""
        since = [slots for at, number, slots in self._told if number == vip_id and scan is not None and at > scan.told]
        return np.concatenate([np.empty(0, np.uint32), *since])

    def _write_table(self, held: Held, vip_id: int, table: HeldTable) -> None:
        """Publish a table with the owners that it has: those of the draft that it was made from."""
        fingerprint = held.drafts[vip_id].table.fingerprint if table.is_steady and vip_id in held.drafts else b""
        self._plane.write_table(vip_id, table.slots, fingerprint)

    def _sweep(self, held: Held) -> None:
        flows = self._plane.scan_flows()
        stale = stale_records(tuple(held.vips.values()), held.tables, flows)
        if len(stale):
            self._delete(flows, stale)
            self._events.say(StaleFlowsDeleted(len(stale)))
        self._swept = True

    def _delete(self, flows: FlowRecords, chosen: NDArray[np.intp]) -> None:
        self._plane.delete_flows(select(flows, chosen))
        self.evictions.deleted(_open_records(flows, chosen))

    @contextmanager
    def _changing(self) -> Iterator[Held]:
        """Yield what the maps hold. If the change fails, that is no longer known, and is read again the next time."""
        held = self.read()
        try:
            yield held
        except BaseException:
            self._held = None
            raise

    def _hold(self, held: Held) -> None:
        """Note what the maps hold now, and the times of moved slots."""
        before = self.tables
        tables = differing(before, held.tables)
        unsettled = set(self._unsettled.difference(tables.gone))
        for vip_id in tables.gone:
            self._times.forget(vip_id)
            self._printed.pop(vip_id, None)
            self._pinned_by_told.pop(vip_id, None)
        for vip_id in tables.present:
            table = held.tables[vip_id]
            self._times.published(vip_id, before.get(vip_id), table, self._clock())
            (unsettled.discard if table.is_steady else unsettled.add)(vip_id)
            if vip_id in self._pinned_by_told and table.is_steady:
                del self._pinned_by_told[vip_id]
        self._held = self.known = held
        self._unsettled = frozenset(unsettled)


def _finds_other_records(before: Mapping[int, VipEntry], after: Mapping[int, VipEntry]) -> bool:
    """Return whether packets of a VIP change slots, or whether it starts or stops to look up flows in steady slots."""
    changed = [(before[vip_id], after[vip_id]) for vip_id in differing(before, after).changed]
    return any(_looks_up(old) != _looks_up(new) for old, new in changed)


def _looks_up(vip: VipEntry) -> tuple[HashKind, bool, bool]:
    """Return on what it depends which records packets of a VIP find."""
    return vip.hash, vip.track_always, vip.second_choice


def _open_records(flows: FlowRecords, chosen: NDArray[np.intp]) -> int:
    """Return how many of these records are not on probation."""
    return int(np.count_nonzero(~flows.probation[chosen]))
