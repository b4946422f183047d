# SPDX-License-Identifier: Apache-2.0
"""Reading what the maps hold: all of it, or what can be known without reading the tables."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from xdplb.balance.held_table import NO_TABLE, HeldTable
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.steps import Held
from xdplb.control.plan.tables import owners_of
from xdplb.dataplane.plane import BackendEntry, DataPlane, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.vip import VipKey

__all__ = ["Found", "read_found", "read_held"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a start finds in the maps, without what is in the tables: they are large, and most need not be read."""

    vips: Mapping[int, VipEntry]
    backends: Mapping[int, BackendEntry]
    tables: AbstractSet[int]

    def balances(self, vip_id: int, key: VipKey) -> bool:
        """Return whether the maps have this VIP under this id, with a table."""
        entry = self.vips.get(vip_id)
        return entry is not None and entry.key == key and vip_id in self.tables


def read_found(plane: DataPlane) -> Found:
    """Read everything but the tables. Blocks."""
    return Found(dict(plane.read_vips()), dict(plane.read_backends()), frozenset(plane.table_ids()))


def read_held(plane: DataPlane, found: Found, drafts: Mapping[int, VipDraft]) -> Held:
    """Return what the maps hold. Blocks.

    A table with the fingerprint of what one of `drafts`, by VIP id, makes its table from is not read: its slots are
    computed when somebody asks for them. It counts as made from that draft.
    """
    prints = plane.read_prints()
    tables: dict[int, HeldTable] = {}
    taken: dict[int, VipDraft] = {}
    last: HeldTable | None = None
    for vip_id in sorted(found.tables):
        draft = drafts.get(vip_id)
        if draft is not None and not found.balances(vip_id, draft.vip.vip.key):
            draft = None
        if draft is not None and _is_of(prints.get(vip_id), draft):
            tables[vip_id] = HeldTable.steady(partial(owners_of, draft.table))
            taken[vip_id] = draft
        elif (slots := plane.read_table(vip_id)) is None:
            tables[vip_id] = NO_TABLE
        else:  # slots are on the move, and mostly to the owners that they would have
            last = tables[vip_id] = HeldTable.of(slots, None if draft is None else owners_of(draft.table), last)
    # Access lists cannot be read back from the maps: only that there are none is certain.
    access = None if any(vip.has_access_list for vip in found.vips.values()) else dict[int, AccessList]()
    return Held(found.vips, tables, found.backends, access, taken)


def _is_of(fingerprint: bytes | None, draft: VipDraft) -> bool:
    return fingerprint is not None and fingerprint == draft.table.fingerprint
