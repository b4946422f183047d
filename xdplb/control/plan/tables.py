"""The tables of VIPs: the owner of each slot, and the transition from the present table."""

from __future__ import annotations

import numpy as np

from xdplb.balance import slots
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.rotation import rotation
from xdplb.balance.slots import Owners
from xdplb.balance.table import build
from xdplb.control.plan.drafts import TableSource, VipDraft
from xdplb.control.plan.steps import Held, WriteTable
from xdplb.dataplane.plane import Slots, VipEntry
from xdplb.model.vip import Protocol, Vip

__all__ = ["table_step"]

_NOBODYS: Slots = np.zeros(TABLE_SIZE, np.uint32)
_NOBODYS.flags.writeable = False


def table_step(wanted: VipDraft, held: Held) -> WriteTable | None:
    """Return the step that publishes a VIP's table, None if the present one is right."""
    vip, vip_id = wanted.vip.vip, wanted.vip.id
    present, made_from = held.vips.get(vip_id), held.drafts.get(vip_id)
    before = (
        held.tables.get(vip_id) if present is not None else None
    )  # without its VIP, a table may be left from another one
    # In steady slots, records are no longer looked up then: these slots must be pinned, though their owners stay.
    loses_records = present is not None and present.track_always and not vip.tracks_always
    if before is not None and made_from is not None and made_from.table == wanted.table and not loses_records:
        return None
    after = _after(vip, wanted.table, before, present)
    if before is None:
        before = _NOBODYS
    elif np.array_equal(before, after):
        return None
    changed = (before ^ after) & np.uint32(0xFFFF) != 0
    return WriteTable(vip_id, vip.key, after, before, changed & slots.is_moving(after))


def _after(vip: Vip, source: TableSource, before: Slots | None, present: VipEntry | None) -> Slots:
    """Return the slots with the owners of `source`, such that open connections stay with their backends."""
    owners = _owners(source)
    steady = slots.pack(owners, np.zeros_like(owners))
    if before is None or present is None:
        return steady
    if vip.key.protocol is Protocol.UDP or vip.scheduler.is_per_connection:
        return steady  # previous owners are not used: UDP flows move with their slot, or all flows are recorded
    if present.scheduler.is_per_connection:  # only records said where its connections go, not its slots
        return steady if vip.tracks_always else slots.pin_all(steady)
    if present.track_always and not vip.tracks_always:
        before = slots.pin_all(before)
    return slots.move(before, owners, gone=slots.named(before) - source.kept)


def _owners(source: TableSource) -> Owners:
    # lc and wlc use the beginning of a rotation as the list of backends to compare.
    if source.scheduler.takes_turns or source.scheduler.compares_all:
        return rotation(source.configured, source.out, weighted=source.scheduler.weighs_turns)
    return build(source.configured, source.out)
