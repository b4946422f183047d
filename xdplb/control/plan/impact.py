# SPDX-License-Identifier: Apache-2.0
"""The impact of a change on traffic, as data: slots that move, backends that lose traffic, features to compile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.slots import SlotCounts
from xdplb.control.plan.desired_diff import DesiredChange, DiffKind
from xdplb.control.plan.eligibility import Eligibility, Use
from xdplb.control.plan.plan import Plan
from xdplb.control.plan.policies import NO_RULE, Policy
from xdplb.control.plan.steps import ClearBackends, Held, WriteBackends, WriteTable
from xdplb.control.plan.tables import owed_slots
from xdplb.control.state.desired import DesiredVip
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import BackendEntry
from xdplb.model.address import IPAddress
from xdplb.model.vip import Forward, VipKey

__all__ = [
    "NO_IMPACT",
    "UNKNOWN",
    "UNKNOWN_IMPACT",
    "AtRisk",
    "BackendUse",
    "Cause",
    "Concern",
    "CutOff",
    "Done",
    "Impact",
    "KnownBy",
    "Risk",
    "SlotMove",
    "TableChange",
    "Warned",
    "impact_of",
    "is_same",
]


@dataclass(frozen=True, slots=True)
class SlotMove:
    """How many slots move from one backend to another; None means no owner."""

    source: IPAddress | None
    target: IPAddress | None
    slots: int


@dataclass(frozen=True, slots=True)
class TableChange:
    """The change of a VIP's table: which slots move, in how many of them (`kept`) open connections stay.

    `owed` slots go to backends that ramp up, in later steps. `after` counts the slots by state once it is done.
    `is_first`: the VIP had no table with a backend in it before.
    """

    vip: VipKey
    is_first: bool
    moves: tuple[SlotMove, ...]
    kept: int
    after: SlotCounts
    owed: int = 0

    @property
    def moved(self) -> int:
        """How many slots change owners."""
        return sum(move.slots for move in self.moves)


@dataclass(frozen=True, slots=True)
class BackendUse:
    """What a backend is used for after the change, and the reason; `before` is None if it is new.

    `reachable` is False if no frame can be sent to it, `is_behind_gateway` if that is since `dr` needs it nearer.
    """

    vip: VipKey
    backend: IPAddress
    forward: Forward
    before: Use | None
    after: Use
    reason: str
    reachable: bool = True
    is_behind_gateway: bool = False


class Concern(StrEnum):
    """What a user who asks for a change may have overlooked."""

    NO_BACKEND = "no_backend"
    """The VIP loses its last usable backend: its packets are dropped."""
    NO_NEW_CONNECTIONS = "no_new_connections"
    """The VIP loses its last backend that takes new connections; open ones stay."""
    CONNECTIONS_BREAK = "connections_break"
    """Backends lose all their packets, and have open connections."""
    CANNOT_SEND = "cannot_send"
    """No frame can be sent yet to backends that are added."""
    BEHIND_GATEWAY = "behind_gateway"
    """Backends are to be reached by `dr`, which needs them on the balancer's own segment, and are behind a gateway."""
    FAILS_OPEN = "fails_open"
    """No backend whose check passes takes new connections: they go to backends whose check failed."""
    PANICS = "panics"
    """Too few backends are healthy, so new connections go to backends whose check failed, too."""
    BACKUPS_SERVE = "backups_serve"
    """Too few primary backends serve, so new connections go to backups, too."""
    AT_RISK = "connections_at_risk"
    """Open connections may break, for another cause than those that have a warning of their own."""
    OWN_SERVICE = "own_service"
    """The VIP takes packets of the host's own services: ssh, its API, the connection that asked for this."""
    HASH_CHANGES = "hash_changes"
    """Open connections without a record fall into other slots."""
    SCHEDULER_CHANGES = "scheduler_changes"
    """Open connections without a record cannot be told from new ones."""
    HOST_PORTS = "host_ports"
    """The VIP takes answers to connections that this host opens itself."""
    HOST_SOURCE = "host_source"
    """The VIP has the address that this host sends from, and the host has no other."""
    TUNNEL_SOURCE = "tunnel_source"
    """The VIP has an address of the prefix that outer headers get their source from."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning about a VIP, and about `backends` of it if it concerns these; `detail` is what is known, in words."""

    concern: Concern
    vip: VipKey
    backends: tuple[IPAddress, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CutOff:
    """A backend, by its VIP, its address and its id, that loses all its traffic.

    `flows` is how many recorded flows it has, None without a recent scan. `served`: it took new connections until now.
    `idle_seconds` is how long an open connection may be silent.
    """

    vip: VipKey
    backend: IPAddress
    id: int
    flows: int | None
    served: bool
    idle_seconds: int


class Cause(StrEnum):
    """Why a change may break open connections."""

    CUT_OFF = "cut_off"
    """Their backend gets no packets any more."""
    TAKEN = "taken"
    """Their packets go to a new VIP, which is more specific than theirs."""
    HASH = "hash"
    """They fall into other slots, or another backend may be chosen for those without a record."""
    SCHEDULER = "scheduler"
    """No record says where they go, and the new scheduler chooses anew."""
    UDP = "udp"
    """UDP flows that are not recorded move with their slots."""
    QUIC = "quic"
    """QUIC connection IDs that were issued name another backend, or none."""
    ACCESS = "access"
    """The access list admits fewer sources."""
    LIMITS = "limits"
    """A limit of packets gets tighter."""
    FORWARD = "forward"
    """Packets reach the backend in another way, which it must be set up for."""
    IDLE_TIMEOUT = "idle_timeout"
    """Connections in moving or pinned slots may be silent for less long."""
    FLOW_TABLE = "flow_table"
    """Their slots move, and the flow table may not have room for their records."""


class KnownBy(StrEnum):
    """Where the number of connections at risk is known from."""

    PLAN = "plan"
    """Nothing that the change does can break a connection."""
    RECORDS = "records"
    """Every connection at risk has a flow record, and these were counted."""
    COUNTERS = "counters"
    """The packets that came within the idle timeout, and the connections opened."""
    NOTHING = "nothing"
    """It is not known."""


@dataclass(frozen=True, slots=True)
class AtRisk:
    """How many connections may break: about how many, and how many at most; None if that is not known.

    A connection is open if it sent a packet within the VIP's idle timeout. `at_most` 0 is a promise.
    """

    expected: int | None = 0
    at_most: int | None = 0
    known_by: KnownBy = KnownBy.PLAN


@dataclass(frozen=True, slots=True)
class Risk:
    """Connections of a VIP, with these of its backends, that a change may break for one cause."""

    cause: Cause
    vip: VipKey
    backends: tuple[IPAddress, ...]
    connections: AtRisk


@dataclass(frozen=True, slots=True)
class Impact:
    """What a change does.

    `features` are those that the program must be recompiled with first. `cut_off` are the backends that lose all their
    traffic, including open connections; `flows` is how many recorded flows these have, None without a recent scan.
    `kept` is how many recorded flows, in VIPs with slots that move, stay with their backends, None likewise. `risks`
    are the connections that may break, by VIP and cause, and `at_risk` all of them together. `warnings` are what
    whoever asks may have overlooked; they refuse nothing.
    """

    changes: tuple[DesiredChange, ...] = ()
    features: Features = frozenset()
    tables: tuple[TableChange, ...] = ()
    uses: tuple[BackendUse, ...] = ()
    cut_off: tuple[CutOff, ...] = ()
    flows: int | None = 0
    kept: int | None = 0
    risks: tuple[Risk, ...] = ()
    at_risk: AtRisk = AtRisk()
    warnings: tuple[Warned, ...] = ()


NO_IMPACT = Impact()
"""The impact of a change that changes nothing."""

UNKNOWN = AtRisk(None, None, KnownBy.NOTHING)
"""Nothing is known of the connections at risk."""

UNKNOWN_IMPACT = Impact(flows=None, kept=None, at_risk=UNKNOWN)
"""That of a change that was planned without knowing what the maps hold."""


@dataclass(frozen=True, slots=True)
class Done:
    """A plan, what the maps hold before and after it, and the eligibility of backends before it, by id."""

    plan: Plan
    before: Held
    after: Held
    eligibility: Mapping[int, Eligibility]


def impact_of(
    changes: tuple[DesiredChange, ...],
    done: Done,
    lacking: Features,
    flows: NDArray[np.int64] | None,
    about: AbstractSet[int] | None = None,
) -> Impact:
    """Return the impact of a plan on the VIPs with the ids `about`, None for all.

    `changes` are the changes to the desired state, `lacking` the features that the program must be recompiled with,
    `flows` the number of recorded flows of each backend, an array by id, None if not known.
    """
    tables = [step for step in done.plan.tables if about is None or step.vip_id in about]
    entries = [
        entry
        for step in done.plan.steps
        if isinstance(step, WriteBackends)
        for entry in step.backends
        if about is None or entry.vip_id in about
    ]
    cut_off = tuple(_cut_off(done, flows, about))
    uses = tuple(_uses(entries, done))
    moving = [step for step in tables if step.before.has_owner]
    return Impact(
        changes=changes,
        features=lacking,
        tables=tuple(_table_change(step, done) for step in tables),
        uses=uses,
        cut_off=cut_off,
        flows=None if flows is None else sum(int(flows[each.id]) for each in cut_off),
        kept=_kept(moving, {each.id for each in cut_off}, flows),
        warnings=(*_warnings_of_changes(changes), *_warnings_of_tables(tables, done), *_warnings_of_uses(uses)),
    )


def _table_change(step: WriteTable, done: Done) -> TableChange:
    return TableChange(
        vip=step.key,
        is_first=not step.before.has_owner,
        moves=tuple(_moves(step, done.before.backends, done.after.backends)),
        kept=len(step.moved),
        after=step.table.counts,
        owed=sum(owed_slots(done.plan.drafts[step.vip_id].table).values()) if step.vip_id in done.plan.drafts else 0,
    )


def _moves(
    step: WriteTable, before: Mapping[int, BackendEntry], after: Mapping[int, BackendEntry]
) -> Iterator[SlotMove]:
    if not step.before.has_owner:
        for number, count in step.table.owners.owned.items():
            yield SlotMove(None, _address(after, number), count)
        return
    old, new = step.before.owners.owners, step.table.owners.owners
    changed: NDArray[np.intp] = np.flatnonzero(old != new)
    # Both ids in one number: numpy sorts these many times faster than rows of two.
    pairs, slots = np.unique(old[changed].astype(np.uint32) << np.uint32(16) | new[changed], return_counts=True)
    for pair, count in zip(pairs.tolist(), slots.tolist(), strict=True):
        yield SlotMove(_address(before, pair >> 16), _address(after, pair & 0xFFFF), count)


def _address(entries: Mapping[int, BackendEntry], backend_id: int) -> IPAddress | None:
    entry = entries.get(backend_id)
    return None if entry is None else entry.address


def _uses(entries: Iterable[BackendEntry], done: Done) -> Iterator[BackendUse]:
    keys = {vip_id: draft.vip.vip.key for vip_id, draft in done.plan.drafts.items()}
    for entry in entries:
        now, present = done.plan.eligibility.get(entry.id), done.before.backends.get(entry.id)
        if now is None or entry.vip_id not in keys:  # only clears the way for the next backend with this id
            continue
        was = done.eligibility.get(entry.id) if present is not None and is_same(present, entry) else None
        yield BackendUse(
            keys[entry.vip_id],
            entry.address,
            entry.forward,
            None if was is None else was.use,
            now.use,
            now.reason,
            now.reachable,
            not now.reachable and entry.forward is Forward.DR and _has_gateway(entry, done),
        )


def _has_gateway(entry: BackendEntry, done: Done) -> bool:
    """Return whether a backend is behind a gateway. The map's entry does not have it."""
    resolution = done.plan.drafts[entry.vip_id].backends[entry.id].resolution
    return resolution is not None and resolution.next_hop is not None and resolution.next_hop.gateway is not None


def _cut_off(done: Done, flows: NDArray[np.int64] | None, about: AbstractSet[int] | None) -> Iterator[CutOff]:
    """Yield the backends that were usable and no longer are."""
    touched = {entry.id for step in done.plan.steps if isinstance(step, WriteBackends) for entry in step.backends}
    touched |= {key for step in done.plan.steps if isinstance(step, ClearBackends) for key in step.ids}
    for backend_id in sorted(touched):
        before, now = done.before.backends.get(backend_id), done.after.backends.get(backend_id)
        if before is None or not before.usable or before.vip_id not in done.before.vips:
            continue
        if about is not None and before.vip_id not in about:
            continue
        if now is None or not now.usable or not is_same(before, now):
            vip, was = done.before.vips[before.vip_id], done.eligibility.get(backend_id)
            yield CutOff(
                vip.key,
                before.address,
                backend_id,
                None if flows is None else int(flows[backend_id]),
                was is None or was.use is Use.SERVING,
                vip.idle_seconds,
            )


def _kept(moving: Iterable[WriteTable], cut_off: AbstractSet[int], flows: NDArray[np.int64] | None) -> int | None:
    """Return how many recorded flows of VIPs with slots that move stay with their backends."""
    keeping = [step for step in moving if len(step.moved)]
    if not keeping or flows is None:
        return None if keeping else 0
    named = frozenset[int]().union(*(step.before.named for step in keeping)) - cut_off
    return int(flows[np.fromiter(named, np.intp, len(named))].sum())


def is_same(one: BackendEntry, other: BackendEntry) -> bool:
    """Return whether two entries with the same id belong to the same backend."""
    return (one.epoch, one.vip_id) == (other.epoch, other.vip_id)


def _warnings_of_changes(changes: tuple[DesiredChange, ...]) -> Iterator[Warned]:
    for change in changes:
        if change.kind is not DiffKind.VIP_CHANGED:
            continue
        assert isinstance(change.before, DesiredVip)
        assert isinstance(change.after, DesiredVip)
        old, new = change.before.vip, change.after.vip
        if old.hash != new.hash:
            yield Warned(Concern.HASH_CHANGES, change.vip)
        if not old.scheduler.is_per_connection and new.scheduler.is_per_connection:
            yield Warned(Concern.SCHEDULER_CHANGES, change.vip)


def _warnings_of_tables(tables: Iterable[WriteTable], done: Done) -> Iterator[Warned]:
    """Yield a warning for each VIP that had a good backend for new connections and no longer has."""
    for step in tables:
        if not step.before.has_owner:
            continue
        if not step.table.has_owner:
            keeps = done.plan.drafts[step.vip_id].table.kept
            yield Warned(Concern.NO_NEW_CONNECTIONS if keeps else Concern.NO_BACKEND, step.key)
        else:
            before = done.before.drafts.get(step.vip_id)
            was, rule = NO_RULE if before is None else before.rule, done.plan.drafts[step.vip_id].rule
            if rule.fails_open and not was.fails_open:
                yield Warned(Concern.FAILS_OPEN, step.key)
            elif rule.policy is Policy.PANIC and was.policy is not Policy.PANIC:
                yield Warned(Concern.PANICS, step.key)
            if rule.uses_backups and not was.uses_backups:
                yield Warned(Concern.BACKUPS_SERVE, step.key)


def _warnings_of_uses(uses: Iterable[BackendUse]) -> Iterator[Warned]:
    """Yield warnings for each VIP with backends that no frame can be sent to, and could be sent to if they were there.

    One that waits for its next hop already is no news.
    """
    lacking: dict[tuple[Concern, VipKey], list[BackendUse]] = {}
    for use in uses:
        if use.before is not Use.OUT and not use.reachable:
            concern = Concern.BEHIND_GATEWAY if use.is_behind_gateway else Concern.CANNOT_SEND
            lacking.setdefault((concern, use.vip), []).append(use)
    for (concern, vip), found in lacking.items():
        yield Warned(concern, vip, tuple(use.backend for use in found), found[0].reason)
