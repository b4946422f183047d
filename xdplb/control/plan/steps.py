"""What the maps hold, and the steps that change them. A step is data; applying it is one call to the data plane."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.held_table import NO_TABLE, HeldTable
from xdplb.control.plan.drafts import VipDraft
from xdplb.dataplane.plane import BackendEntry, DataPlane, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.vip import VipKey

__all__ = [
    "ClearBackends",
    "DeleteTable",
    "Held",
    "StartVips",
    "Step",
    "WriteAccess",
    "WriteBackends",
    "WriteTable",
    "WriteVips",
]


@dataclass(frozen=True, slots=True)
class Held:
    """What the maps hold: VIPs and tables by VIP id, backends by id.

    `access` are the access lists by VIP id, None if not known. `drafts` are not in the maps: they are the drafts that
    the maps were written from, and the next plan reuses their parts.
    """

    vips: Mapping[int, VipEntry] = field(default_factory=dict)
    tables: Mapping[int, HeldTable] = field(default_factory=dict)
    backends: Mapping[int, BackendEntry] = field(default_factory=dict)
    access: Mapping[int, AccessList] | None = field(default_factory=dict)
    drafts: Mapping[int, VipDraft] = field(default_factory=dict)

    def balances(self, vip_id: int, key: VipKey) -> bool:
        """Return whether the maps have this VIP under this id, with a table."""
        entry = self.vips.get(vip_id)
        return entry is not None and entry.key == key and vip_id in self.tables

    def part(self, only: AbstractSet[int]) -> Held:
        """Return the part that belongs to the VIPs with these ids."""
        return Held(
            vips={vip_id: entry for vip_id, entry in self.vips.items() if vip_id in only},
            tables={vip_id: table for vip_id, table in self.tables.items() if vip_id in only},
            backends={key: entry for key, entry in self.backends.items() if entry.vip_id in only},
            access={vip_id: access for vip_id, access in (self.access or {}).items() if vip_id in only},
            drafts={vip_id: draft for vip_id, draft in self.drafts.items() if vip_id in only},
        )

    def with_table(self, vip_id: int, table: HeldTable) -> Held:
        """Return the same with another table for one VIP."""
        return replace(self, tables={**self.tables, vip_id: table})


@dataclass(frozen=True, slots=True)
class WriteBackends:
    """Write these backends."""

    backends: tuple[BackendEntry, ...]

    def apply(self, plane: DataPlane) -> None:
        """Write them. Blocks."""
        plane.write_backends(self.backends)

    def applied_to(self, held: Held) -> Held:
        """Return what the maps hold once this is done."""
        return replace(held, backends={**held.backends, **{entry.id: entry for entry in self.backends}})


@dataclass(frozen=True, slots=True, eq=False)
class WriteTable:
    """Publish a VIP's table in place of `before`."""

    vip_id: int
    key: VipKey
    table: HeldTable
    before: HeldTable

    @property
    def moved(self) -> NDArray[np.intp]:
        """The numbers of the slots that start to move to a new owner, or go on to another one."""
        moving = self.table.moving
        if not len(moving):
            return moving
        found: NDArray[np.intp] = moving[self.before.owners.of_slots(moving) != self.table.owners.of_slots(moving)]
        return found

    def apply(self, plane: DataPlane) -> None:
        """Publish it. Blocks."""
        plane.write_table(self.vip_id, self.table.slots)

    def applied_to(self, held: Held) -> Held:
        """Return what the maps hold once this is done."""
        return held.with_table(self.vip_id, self.table)


@dataclass(frozen=True, slots=True)
class WriteAccess:
    """Replace all access lists with these, by VIP id."""

    lists: Mapping[int, AccessList]

    def apply(self, plane: DataPlane) -> None:
        """Publish them. Blocks, for seconds with hundreds of thousands of prefixes."""
        plane.write_access(self.lists)

    def applied_to(self, held: Held) -> Held:
        """Return what the maps hold once this is done."""
        return replace(held, access=self.lists)


@dataclass(frozen=True, slots=True)
class WriteVips:
    """Replace the index of VIPs with exactly these."""

    vips: tuple[VipEntry, ...]

    def apply(self, plane: DataPlane) -> None:
        """Publish it. Blocks."""
        plane.write_vips(self.vips)

    def applied_to(self, held: Held) -> Held:
        """Return what the maps hold once this is done."""
        return replace(held, vips={entry.id: entry for entry in self.vips})


@dataclass(frozen=True, slots=True)
class StartVips:
    """Prepare these VIP ids for new VIPs: counters at zero, and an empty table."""

    vip_ids: tuple[int, ...]

    def apply(self, plane: DataPlane) -> None:
        """Prepare them. Blocks."""
        plane.start_vips(self.vip_ids)

    def applied_to(self, held: Held) -> Held:
        """Return what the maps hold once this is done."""
        return replace(held, tables={**dict.fromkeys(self.vip_ids, NO_TABLE), **held.tables})


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Delete the table of a VIP that is no longer in the index."""

    vip_id: int

    def apply(self, plane: DataPlane) -> None:
        """Delete it. Blocks."""
        plane.delete_table(self.vip_id)

    def applied_to(self, held: Held) -> Held:
        """Return what the maps hold once this is done."""
        tables = {vip_id: table for vip_id, table in held.tables.items() if vip_id != self.vip_id}
        drafts = {vip_id: draft for vip_id, draft in held.drafts.items() if vip_id != self.vip_id}
        return replace(held, tables=tables, drafts=drafts)


@dataclass(frozen=True, slots=True)
class ClearBackends:
    """Clear the entries of backends that no table names any more."""

    ids: tuple[int, ...]

    def apply(self, plane: DataPlane) -> None:
        """Clear them. Blocks."""
        plane.clear_backends(self.ids)

    def applied_to(self, held: Held) -> Held:
        """Return what the maps hold once this is done."""
        gone = frozenset(self.ids)
        return replace(held, backends={key: entry for key, entry in held.backends.items() if key not in gone})


Step = WriteBackends | WriteTable | WriteAccess | WriteVips | StartVips | DeleteTable | ClearBackends
