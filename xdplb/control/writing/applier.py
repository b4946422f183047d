"""The blocking side of the writer: what the maps hold, and how they are brought to the desired state.

Everything here runs in the thread of the maps, except `require`, and attributes, which may be read from any thread:
they are replaced as a whole, never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.held_table import HeldTable
from xdplb.control.events import Events, MapsRestored, SlotsPinned, SlotsSteady, StaleFlowsDeleted, TablePublished
from xdplb.control.flows.evictions import Evictions
from xdplb.control.flows.settle import MoveTimes, Scan, find_release, select, stale_records
from xdplb.control.plan.eligibility import Eligibility, Observed
from xdplb.control.plan.forecast import Forecast, Present, check_room, forecast
from xdplb.control.plan.plan import Plan, plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.nics import NicKeeper
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import Attachment, BackendCounters, DataPlane, FlowRecords, Mark, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.nic import DesiredNic

__all__ = ["Applier"]

_TABLES_A_LOOK = 16


class Applier:
    """Keeps track of what the data plane holds, and changes it by plans and by settling slots."""

    def __init__(
        self, plane: DataPlane, clock: Callable[[], float], events: Events, nics: Sequence[DesiredNic] = ()
    ) -> None:
        self._plane, self._clock, self._events = plane, clock, events
        self.nics = NicKeeper(plane, nics, clock, events)
        self._held: Held | None = None
        self._tables: Mapping[int, HeldTable] = {}
        self._unsettled: frozenset[int] = frozenset()
        self.known = Held()
        """What the maps held when it was last known, never None."""
        self._times = MoveTimes()
        self._mark: Mark | None = None
        self._swept = False
        self._looked_at = 0
        self.eligibility: Mapping[int, Eligibility] = {}
        self.evictions = Evictions()
        self.used = (0, 0)
        """How many VIPs and backends the maps hold."""

    @property
    def features(self) -> Features:
        """What the program is compiled for."""
        return self._plane.features

    @property
    def tables(self) -> Mapping[int, HeldTable]:
        """The tables as last published, by VIP id. They are never changed, only replaced."""
        return self._tables

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The NICs that the program is on, as last seen."""
        return self.nics.attachments

    def read(self) -> Held:
        """Return what the maps hold: from memory if that is up to date, otherwise from the maps."""
        if self._held is None:
            self._hold(_read(self._plane))
        assert self._held is not None
        return self._held

    def addresses_in_use(self) -> frozenset[IPAddress]:
        """Return the addresses of the backends that packets may be sent to now."""
        return frozenset(entry.address for entry in self.read().backends.values() if entry.usable)

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
        about: AbstractSet[int] | None,
        flows: NDArray[np.int64] | None,
    ) -> Forecast:
        """Return the plan that brings the maps to `after`, with its impact; CapacityError if the maps have no room."""
        check_room(before, after)  # first: it is known also while the maps cannot be read
        return forecast(before, after, observed, self.present_of(self.read(), flows), only=only, about=about)

    def bring(self, snapshot: Snapshot, observed: Observed, only: AbstractSet[int] | None = None) -> None:
        """Plan and carry out the plan; the arguments are those of `plan`.

        Raises PlatformError; the maps are then read again the next time.
        """
        held = self.read()
        planned = plan(snapshot, observed, held, only)
        self.require(planned.features)
        self._carry_out(planned, held, planned.after(held), only)

    def carry_out(self, forecast: Forecast, only: AbstractSet[int] | None) -> None:
        """Carry out the plan of a forecast that was made for what the maps hold now."""
        self._carry_out(forecast.plan, forecast.held, forecast.after, only)

    def _carry_out(self, planned: Plan, made_for: Held, after: Held, only: AbstractSet[int] | None) -> None:
        with self._changing() as held:
            assert held is made_for, "nothing changes the maps between a plan and this"
            if not self._swept:
                self._sweep(held)
            # If records may now be found that were not looked up before, all stale ones must be deleted. It is noted
            # before the maps change, so that it is still due if a step fails.
            self._swept = self._swept and not _finds_other_records(held.vips, after.vips)
            if held.vips.keys() - after.vips.keys():  # read the counters of VIPs that go while they are there
                self.evictions.made(self._plane.counters().vips)
            planned.apply(self._plane)
            for table in planned.tables:
                self._events.say(TablePublished(str(table.key), len(table.moved)))
            self._hold(after)
            if not self._swept:
                self._sweep(after)
            self.eligibility = planned.eligibility if only is None else {**self.eligibility, **planned.eligibility}

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
        self._plane.require(features)

    def packets(self) -> Mapping[int, BackendCounters]:
        """Return the counters of the backends, by id."""
        return self._plane.counters().backends

    def verify(self) -> bool:
        """Return whether the maps hold what was written to them. Checks all entries, and some tables at each call.

        Access lists cannot be read back, so after a failed change the answer is False until they are written again.
        """
        held = self.read()
        if held.access is None:
            return False
        ids = sorted(held.tables)
        some = list(islice(ids[self._looked_at :] + ids[: self._looked_at], min(_TABLES_A_LOOK, len(ids))))
        self._looked_at = (self._looked_at + len(some)) % max(1, len(ids))
        same = (
            dict(self._plane.read_vips()) == held.vips
            and dict(self._plane.read_backends()) == held.backends
            and all(_has(self._plane, vip_id, held.tables[vip_id]) for vip_id in some)
        )
        if not same:
            self._events.say(MapsRestored())
            self._held = None
        return same

    def settle(self, scan: Scan | None) -> None:
        """Pin moving slots whose idle timeout has passed, and make steady the pinned ones that `scan` shows settled."""
        with self._changing() as before:
            held = self._pin(before)
            for vip_id in sorted(self._unsettled):
                if held.tables[vip_id].counts.pinned and vip_id in held.vips:
                    held = self._release(vip_id, scan, held)
            self._hold(held)

    def needs_scan(self) -> bool:
        """Return whether a scan is needed: for pinned slots of a VIP that records only what moves, or for loads."""
        vips = self._held.vips if self._held is not None else {}
        return bool(self.choosing_by_load()) or any(
            self._tables[vip_id].counts.pinned and vip_id in vips and not vips[vip_id].track_always
            for vip_id in self._unsettled
        )

    def choosing_by_load(self) -> frozenset[int]:
        """Return the ids of the VIPs whose scheduler chooses by load."""
        vips = self._held.vips if self._held is not None else {}
        return frozenset(vip_id for vip_id, vip in vips.items() if vip.scheduler.is_by_load)

    def is_settled(self) -> bool:
        """Return whether all slots are steady."""
        return not self._unsettled

    def _pin(self, held: Held) -> Held:
        for vip_id in [vip_id for vip_id in self._times.vips if vip_id in held.vips]:
            table = self._times.pinned(vip_id, held.tables[vip_id], self._clock(), held.vips[vip_id].idle_seconds)
            if table is not None:
                self._plane.write_table(vip_id, table.slots)
                held = held.with_table(vip_id, table)
                self._events.say(SlotsPinned(str(held.vips[vip_id].key), table.counts.pinned))
        return held

    def _release(self, vip_id: int, scan: Scan | None, held: Held) -> Held:
        vip, current = held.vips[vip_id], held.tables[vip_id]
        found = find_release(vip, current, scan)
        if found is None:
            return held
        self._swept = False  # if deleting the records fails, the next change sweeps them
        self._plane.write_table(vip_id, found.table.slots)
        if scan is not None and len(found.stale):
            self._delete(scan.flows, found.stale)
        self._swept = True
        self._events.say(SlotsSteady(str(vip.key), found.table.counts.pinned))
        return held.with_table(vip_id, found.table)

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
        unsettled = set(self._unsettled & held.tables.keys())
        for vip_id in self._tables.keys() - held.tables.keys():
            self._times.forget(vip_id)
        for vip_id, table in held.tables.items():
            before = self._tables.get(vip_id)
            if before is not table:
                self._times.published(vip_id, before, table, self._clock())
                (unsettled.discard if table.is_steady else unsettled.add)(vip_id)
        self._held, self._tables, self.known = held, held.tables, held
        self._unsettled = frozenset(unsettled)
        self.used = (len(held.vips), len(held.backends))


def _read(plane: DataPlane) -> Held:
    """Read what the maps hold, all of it."""
    read = ((vip_id, plane.read_table(vip_id)) for vip_id in range(plane.capacity.vips))
    tables = {vip_id: HeldTable.of(slots) for vip_id, slots in read if slots is not None}
    vips = dict(plane.read_vips())
    # Access lists cannot be read back from the maps: only that there are none is certain.
    access = None if any(vip.has_access_list for vip in vips.values()) else dict[int, AccessList]()
    return Held(vips, tables, dict(plane.read_backends()), access)


def _has(plane: DataPlane, vip_id: int, table: HeldTable) -> bool:
    found = plane.read_table(vip_id)
    return found is not None and np.array_equal(found, table.slots)


def _finds_other_records(before: Mapping[int, VipEntry], after: Mapping[int, VipEntry]) -> bool:
    """Return whether packets of a VIP change slots, or whether it starts or stops to look up flows in steady slots."""
    return any(
        (old.hash_source, old.track_always) != (new.hash_source, new.track_always)
        for vip_id, new in after.items()
        if (old := before.get(vip_id)) is not None
    )


def _open_records(flows: FlowRecords, chosen: NDArray[np.intp]) -> int:
    """Return how many of these records are not on probation."""
    return int(np.count_nonzero(~flows.probation[chosen]))
