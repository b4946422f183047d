# SPDX-License-Identifier: Apache-2.0
"""The tables of VIPs: the owner of each slot, and the transition from the present table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xdplb.balance import slots
from xdplb.balance.held_table import NO_TABLE, HeldTable
from xdplb.balance.pattern import Ownership
from xdplb.balance.rotation import rotation
from xdplb.balance.table import assign
from xdplb.control.plan.drafts import TableSource, VipDraft
from xdplb.control.plan.policies import Traits
from xdplb.control.plan.steps import Held, WriteTable
from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import Protocol, Vip

__all__ = ["owed_slots", "owners_at_last", "owners_of", "table_step"]


def table_step(wanted: VipDraft, held: Held) -> WriteTable | None:
    """Return the step that publishes a VIP's table, None if the present one is right."""
    vip, vip_id = wanted.vip.vip, wanted.vip.id
    present, made_from = held.vips.get(vip_id), held.drafts.get(vip_id)
    before = (
        held.tables.get(vip_id) if present is not None else None
    )  # without its VIP, a table may be left from another one
    # In steady slots, records are no longer looked up then: these slots must be pinned, though their owners stay.
    loses_records = present is not None and _loses_records(present, wanted)
    if before is not None and made_from is not None and made_from.table == wanted.table and not loses_records:
        return None
    after = _after(wanted, before, present, loses_records=loses_records)
    if before is None:
        before = NO_TABLE
    elif before == after:
        return None
    fingerprint = wanted.table.fingerprint if after.is_steady else b""  # with others, owners are not all there is
    return WriteTable(vip_id, vip.key, after, before, fingerprint)


def _loses_records(present: VipEntry, wanted: VipDraft) -> bool:
    """Return whether connections may be elsewhere than their steady slots say, and packets will no longer look.

    Second choices are looked up in steady slots as well, but no other records.
    """
    if wanted.vip.vip.tracks_always:
        return False
    return present.track_always or (present.second_choice and not wanted.has_second_choice)


def _after(wanted: VipDraft, before: HeldTable | None, present: VipEntry | None, *, loses_records: bool) -> HeldTable:
    """Return the wanted table, such that open connections stay with their backends."""
    vip, source = wanted.vip.vip, wanted.table
    owners = owners_of(source)
    if _has_no_moves(vip):
        return HeldTable.steady(owners)
    if before is None or present is None:
        before = NO_TABLE
    elif present.scheduler.is_per_connection:  # only records said where its connections go, not its slots
        steady = HeldTable.steady(owners)
        return steady if vip.tracks_always else _pinned(steady)
    if not before.has_owner and owners.owned:
        before = HeldTable(_first_owners(wanted), before.previous)
    if loses_records:
        before = _pinned(before)
    return before.move(owners, gone=before.named - source.kept - source.lost)


def _first_owners(wanted: VipDraft) -> Ownership:
    """Return from whom the slots of a table come that nobody has owned.

    Other balancers may have long been sending packets to a backend whose first check is not over here. Its slots move
    from it to those that serve until then: only what has begun here meanwhile is with these.
    """
    source = wanted.table
    awaited = {number for number, standing in wanted.eligibility.items() if standing.traits & Traits.WAITS}
    return owners_of(replace(source, out=source.out - awaited) if wanted.host.has_peers else source)


def _has_no_moves(vip: Vip) -> bool:
    """Return whether previous owners are not used: UDP moves with its slot, or all is recorded."""
    return vip.key.protocol is Protocol.UDP or vip.scheduler.is_per_connection


def _pinned(table: HeldTable) -> HeldTable:
    return table.settled(slots.pin_all(table.slots))


def owners_of(source: TableSource) -> Ownership:
    """Return who owns each slot of a table."""
    # lc and wlc use the beginning of a rotation as the list of backends to compare.
    if source.scheduler.takes_turns or source.scheduler.compares_all:
        turns = rotation(
            source.configured, source.out, weighted=source.scheduler.weighs_turns, newcomers=source.newcomers
        )
        return Ownership.of(turns)
    return assign(source.configured, source.out, source.newcomers)


def owners_at_last(source: TableSource) -> Ownership:
    """Return who owns each slot once nobody ramps up any more, if nothing else changes."""
    return owners_of(replace(source, newcomers=()))


def owed_slots(source: TableSource) -> Mapping[int, int]:
    """Return how many slots newcomers get in later steps, by id. Turns are no slots, which connections go by."""
    if not source.newcomers or source.scheduler.is_per_connection:
        return {}
    now, at_last = owners_of(source).owned, owners_at_last(source).owned
    return {one.id: at_last.get(one.id, 0) - now.get(one.id, 0) for one in source.newcomers}
