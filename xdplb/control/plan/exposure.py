# SPDX-License-Identifier: Apache-2.0
"""Which connections a change may break, before anybody knows how many there are. Pure.

docs/connections.md says what keeps a connection with its backend. Whatever a change takes away of that exposes the
connections of some backends of a VIP. All else of a change breaks none, and that is a promise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np

from xdplb.balance.held_table import HeldTable
from xdplb.control.plan.desired_diff import DesiredChange, DiffKind
from xdplb.control.plan.impact import Cause, Done, is_same
from xdplb.control.plan.steps import WriteBackends, WriteTable
from xdplb.control.plan.tables import owners_at_last
from xdplb.control.state.desired import DesiredVip
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.vip import Protocol, RateLimits, VipKey

__all__ = ["Exposed", "Exposure", "exposures", "without_room"]


@dataclass(frozen=True, slots=True)
class Exposed:
    """A backend, by id and epoch, a `share` (0 to 1) of whose connections may break.

    `is_named`: a slot names it, so that it may have connections without a record. `takes_new`: it got new ones until
    now.
    """

    id: int
    epoch: int
    address: IPAddress
    share: float = 1.0
    is_named: bool = True
    takes_new: bool = True


@dataclass(frozen=True, slots=True)
class Exposure:
    """Connections of a VIP, by its id, that may break for one cause; those with a record are safe if `records_keep`.

    They are those of these backends; of all, if there are none here. `idle_seconds` is how long an open connection may
    be silent. `counts_syns`: each began with a SYN that was counted.
    """

    cause: Cause
    vip: VipKey
    vip_id: int
    idle_seconds: int
    counts_syns: bool
    records_keep: bool = False
    backends: tuple[Exposed, ...] = ()


@dataclass(slots=True)
class _Found:
    """What is found. The connections of a VIP or a backend are there under one cause only: the first."""

    done: Done
    vips: dict[int, tuple[Cause, bool]] = field(default_factory=dict)
    backends: dict[int, dict[int, tuple[Cause, bool, Exposed]]] = field(default_factory=dict)

    def add_vip(self, vip_id: int, cause: Cause, *, records_keep: bool = False) -> None:
        """Note all connections of a VIP."""
        known = self.vips.get(vip_id)
        if known is None or (known[1] and not records_keep):
            self.vips[vip_id] = cause, records_keep

    def add(self, vip_id: int, cause: Cause, exposed: Iterable[Exposed], *, records_keep: bool = False) -> None:
        """Note the connections of these backends of a VIP, as far as they are not noted yet."""
        if vip_id in self.vips and cause is not Cause.CUT_OFF:
            return
        known = self.backends.setdefault(vip_id, {})
        for each in exposed:
            known.setdefault(each.id, (cause, records_keep, each))

    def exposures(self) -> Iterator[Exposure]:
        """Yield what was found, by VIP and cause."""
        for vip_id, found in sorted(self.backends.items()):
            grouped: dict[tuple[Cause, bool], list[Exposed]] = {}
            for cause, records_keep, each in found.values():
                grouped.setdefault((cause, records_keep), []).append(each)
            for (cause, records_keep), those in grouped.items():
                yield self._exposure(vip_id, cause, tuple(those), records_keep=records_keep)
        for vip_id, (cause, records_keep) in sorted(self.vips.items()):
            yield self._exposure(vip_id, cause, (), records_keep=records_keep)

    def _exposure(self, vip_id: int, cause: Cause, those: tuple[Exposed, ...], *, records_keep: bool) -> Exposure:
        vip = self.done.before.vips[vip_id]
        counts_syns = vip.key.protocol is Protocol.TCP
        return Exposure(cause, vip.key, vip_id, vip.idle_seconds, counts_syns, records_keep, those)


def exposures(
    before: Snapshot,
    changes: tuple[DesiredChange, ...],
    done: Done,
    about: AbstractSet[int] | None = None,
) -> tuple[Exposure, ...]:
    """Return the connections that a change exposes, of the VIPs with the ids `about`, None for all.

    `changes` are those of the desired state of `before`.
    """
    found = _Found(done)
    touched = list(_touched_entries(done, about))
    for entry, later in touched:
        if later is None:
            found.add(entry.vip_id, Cause.CUT_OFF, [_exposed(entry, done)])
    for change in changes:
        if change.kind is DiffKind.VIP_ADDED:
            _note_taken(found, change.vip, before)
        elif isinstance(change.before, DesiredVip) and isinstance(change.after, DesiredVip):
            _note_vip(found, before.vips[change.vip].id, change.before, change.after)
    for entry, later in touched:
        if later is not None:
            _note_entry(found, entry, later)
    for step in _moving(done, about):
        if (keeps := _flows_by_slot(step.vip_id, done)) is not None:
            found.add(step.vip_id, Cause.UDP, _losing(step, done), records_keep=keeps)
    return tuple(found.exposures())


def without_room(done: Done, about: AbstractSet[int] | None, exposed: Collection[Exposure]) -> tuple[Exposure, ...]:
    """Return what a change exposes as well if the flow table has no room for the connections of slots that move.

    `exposed` is what it exposes anyway.
    """
    found = _Found(done)
    known = {each.id for exposure in exposed for each in exposure.backends}
    for step in _moving(done, about):
        if len(step.moved):
            found.add(step.vip_id, Cause.FLOW_TABLE, (each for each in _losing(step, done) if each.id not in known))
    return tuple(found.exposures())


def _moving(done: Done, about: AbstractSet[int] | None) -> Iterator[WriteTable]:
    """Yield the tables that are published in place of others of the same VIP."""
    for step in done.plan.tables:
        vip = done.before.vips.get(step.vip_id)
        if step.before.has_owner and vip is not None and vip.key == step.key and (about is None or vip.id in about):
            yield step


def _touched_entries(done: Done, about: AbstractSet[int] | None) -> Iterator[tuple[BackendEntry, BackendEntry | None]]:
    """Yield the backends that packets were sent to and that are written or cleared: as they were, and as they are.

    They are None if no packets are sent to them any more.
    """
    touched = {entry.id for step in done.plan.steps if isinstance(step, WriteBackends) for entry in step.backends}
    for backend_id in sorted(touched | set(done.plan.cleared)):
        entry, later = done.before.backends.get(backend_id), done.after.backends.get(backend_id)
        if entry is None or not entry.usable or entry.vip_id not in done.before.vips:
            continue
        if about is None or entry.vip_id in about:
            stays = later is not None and later.usable and is_same(entry, later)
            yield entry, later if stays else None


def _exposed(entry: BackendEntry, done: Done, share: float = 1.0) -> Exposed:
    table = done.before.tables.get(entry.vip_id)
    is_named = table is None or table.names(entry.id)
    return Exposed(entry.id, entry.epoch, entry.address, share, is_named, entry.takes_new)


def _note_taken(found: _Found, key: VipKey, before: Snapshot) -> None:
    """Note the VIPs whose packets a new VIP takes, since it is more specific than they are."""
    for other in before.desired.places.vips_of(key.address):
        if _takes_from(key, other) and (vip_id := before.vips[other].id) in found.done.before.vips:
            found.add_vip(vip_id, Cause.TAKEN)


def _takes_from(key: VipKey, other: VipKey) -> bool:
    return (
        other.rank < key.rank
        and (other.prefix_length or 0) <= (key.prefix_length or 0)
        and bool(set(key.protocol.numbers) & set(other.protocol.numbers))
        and key.ports[0] <= other.ports[-1]
        and other.ports[0] <= key.ports[-1]
    )


def _note_vip(found: _Found, vip_id: int, old: DesiredVip, new: DesiredVip) -> None:
    """Note what a change of a VIP's settings exposes."""
    done = found.done
    entry = done.before.vips.get(vip_id)
    if entry is None or entry.key != old.vip.key:
        return
    causes = dict(_causes(entry, old, new, done.before.tables.get(vip_id)))
    if not _CHOICES.isdisjoint(causes) and _has_one_backend(vip_id, done):  # whatever chooses, there is no other
        causes = {cause: keep for cause, keep in causes.items() if cause not in _CHOICES}
    for cause, records_keep in causes.items():
        found.add_vip(vip_id, cause, records_keep=records_keep)


def _causes(entry: VipEntry, old: DesiredVip, new: DesiredVip, table: HeldTable | None) -> Iterator[tuple[Cause, bool]]:
    """Yield why connections of a VIP may break, each with whether those with a record are safe."""
    was, now = old.vip, new.vip
    if old.access is not new.access and _admits_less(old.access, new.access):
        yield Cause.ACCESS, False
    if _is_tighter(was.limits, now.limits):
        yield Cause.LIMITS, False
    if was.quic != now.quic:
        yield Cause.QUIC, False
    recorded = entry.track_always and now.tracks_always
    if was.hash != now.hash:
        yield Cause.HASH, recorded
    if was.scheduler.is_per_connection != now.scheduler.is_per_connection:
        # Of TCP, records are looked up in pinned slots too, and all slots are pinned if the records may go.
        yield Cause.SCHEDULER, recorded or (entry.track_always and now.key.protocol is Protocol.TCP)
    if entry.track_always and not now.tracks_always and now.key.protocol is not Protocol.TCP:
        yield Cause.UDP, False
    if now.idle_timeout_seconds < was.idle_timeout_seconds and table is not None and not table.is_steady:
        yield Cause.IDLE_TIMEOUT, False


_CHOICES = {Cause.HASH, Cause.SCHEDULER, Cause.UDP, Cause.IDLE_TIMEOUT}


def _has_one_backend(vip_id: int, done: Done) -> bool:
    """Return whether all packets of a VIP go to the same backend, before and after."""
    ids = done.before.ids.get(vip_id), done.after.ids.get(vip_id)
    return ids[0] is not None and len(ids[0]) == 1 and ids[0] == ids[1]


_FEW_PREFIXES = 10_000


def _admits_less(old: AccessList, new: AccessList) -> bool:
    """Return whether a list may deny sources that the other admits; long ones are not compared, which takes seconds."""
    if not new:
        return False
    if sum(map(len, (old.allow, old.deny, new.allow, new.deny))) > _FEW_PREFIXES:
        return True
    return not (
        set(new.deny) <= set(old.deny) and set(old.allow) <= set(new.allow) and (bool(old.allow) or not new.allow)
    )


def _is_tighter(old: RateLimits, new: RateLimits) -> bool:
    """Return whether fewer packets of open connections are accepted. Limits of new flows are about SYNs alone."""
    pairs = (old.packets, new.packets), (old.source_packets, new.source_packets)
    return any(now and (not was or now < was) for was, now in pairs)


def _note_entry(found: _Found, entry: BackendEntry, later: BackendEntry) -> None:
    """Note what a change of a backend's entry exposes."""
    if _way_of(entry) != _way_of(later):
        found.add(entry.vip_id, Cause.FORWARD, [_exposed(entry, found.done)])
    if entry.quic_server_id != later.quic_server_id:  # packets of any connection may name the new one
        found.add_vip(entry.vip_id, Cause.QUIC)


def _way_of(entry: BackendEntry) -> tuple[object, ...]:
    """Return how the packets of clients go. Who is answered by a backend itself is no client of the VIP."""
    return entry.forward, entry.keep_tags, None if entry.nat is None else replace(entry.nat, direct=())


def _flows_by_slot(vip_id: int, done: Done) -> bool | None:
    """Return whether a VIP has flows that move with their slots, True if only those without a record; None if not."""
    was, now = done.before.vips[vip_id], done.after.vips.get(vip_id)
    if now is None or now.scheduler.is_per_connection or now.key.protocol is Protocol.TCP:
        return None
    return was.track_always and now.track_always


def _losing(step: WriteTable, done: Done) -> Iterator[Exposed]:
    """Yield the backends that lose slots, with the share of their slots that they lose, now or while others ramp up."""
    old, new = step.before.owners, step.table.owners
    if (made := done.plan.drafts.get(step.vip_id)) is not None and made.table.newcomers:
        new = owners_at_last(made.table)
    numbers, lost = np.unique(old.owners[old.owners != new.owners], return_counts=True)
    for number, slots in zip(numbers.tolist(), lost.tolist(), strict=True):
        entry = done.before.backends.get(number)
        if entry is not None and entry.usable:
            yield _exposed(entry, done, slots / old.owned[number])
