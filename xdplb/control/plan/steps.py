# SPDX-License-Identifier: Apache-2.0
"""What the maps hold, and the steps that change them. A step is data; applying it is one call to the data plane."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

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
    "HeldLater",
    "StartVips",
    "Step",
    "WriteAccess",
    "WriteBackends",
    "WriteTable",
    "WriteVips",
]

T = TypeVar("T")


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
    _ids: Mapping[int, frozenset[int]] | None = field(default=None, compare=False, repr=False)

    @property
    def ids(self) -> Mapping[int, frozenset[int]]:
        """The ids of the backends of each VIP, by its id. Made once, and after steps from those before them."""
        if self._ids is None:
            found: defaultdict[int, set[int]] = defaultdict(set)
            for number, entry in self.backends.items():
                found[entry.vip_id].add(number)
            object.__setattr__(self, "_ids", {vip_id: frozenset(ids) for vip_id, ids in found.items()})
        assert self._ids is not None
        return self._ids

    def part(self, only: AbstractSet[int]) -> Held:
        """Return the part that belongs to the VIPs with these ids, with the backends and the access lists of all."""
        return Held(
            vips=_some(self.vips, only),
            tables=_some(self.tables, only),
            backends=self.backends,
            access=self.access,
            drafts=_some(self.drafts, only),
            _ids=_some(self.ids, only),
        )


class HeldLater:
    """What the maps hold while steps are carried out one after the other. What no step changes is never copied."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.access = held.access

    @cached_property
    def vips(self) -> dict[int, VipEntry]:
        """The VIPs, by id."""
        return dict(self._held.vips)

    @cached_property
    def tables(self) -> dict[int, HeldTable]:
        """The tables, by VIP id."""
        return dict(self._held.tables)

    @cached_property
    def drafts(self) -> dict[int, VipDraft]:
        """The drafts, by VIP id."""
        return dict(self._held.drafts)

    @cached_property
    def _backends(self) -> dict[int, BackendEntry]:
        return dict(self._held.backends)

    @cached_property
    def _moved(self) -> dict[int, tuple[set[int], set[int]]]:
        """The ids of backends that VIPs, by id, have got and lost."""
        return {}

    def put_backends(self, entries: Iterable[BackendEntry]) -> None:
        """Note these backends, in place of those that have their ids."""
        for entry in entries:
            before = self._backends.get(entry.id)
            if before is None or before.vip_id != entry.vip_id:
                self._lose(before)
                got, lost = self._moved.setdefault(entry.vip_id, (set(), set()))
                got.add(entry.id)
                lost.discard(entry.id)
            self._backends[entry.id] = entry

    def drop_backends(self, ids: Iterable[int]) -> None:
        """Note that there are no backends with these ids any more."""
        for number in ids:
            self._lose(self._backends.pop(number, None))

    def held(self) -> Held:
        """Return what the maps hold now."""
        changed = self.__dict__
        return Held(
            changed.get("vips", self._held.vips),
            changed.get("tables", self._held.tables),
            changed.get("_backends", self._held.backends),
            self.access,
            changed.get("drafts", self._held.drafts),
            self._ids(),
        )

    def _lose(self, entry: BackendEntry | None) -> None:
        if entry is not None:
            got, lost = self._moved.setdefault(entry.vip_id, (set(), set()))
            got.discard(entry.id)
            lost.add(entry.id)

    def _ids(self) -> Mapping[int, frozenset[int]]:
        ids = self._held.ids
        if not self._moved:
            return ids
        moved = {vip_id: (ids.get(vip_id, frozenset()) | got) - lost for vip_id, (got, lost) in self._moved.items()}
        left = {**ids, **moved}
        for vip_id, numbers in moved.items():
            if not numbers:
                del left[vip_id]
        return left


def _some(mapping: Mapping[int, T], keys: AbstractSet[int]) -> dict[int, T]:
    return {key: mapping[key] for key in keys if key in mapping}


@dataclass(frozen=True, slots=True)
class WriteBackends:
    """Write these backends."""

    backends: tuple[BackendEntry, ...]

    def apply(self, plane: DataPlane) -> None:
        """Write them. Blocks."""
        plane.write_backends(self.backends)

    def note_in(self, held: HeldLater) -> None:
        """Note what the maps hold once this is done."""
        held.put_backends(self.backends)


@dataclass(frozen=True, slots=True, eq=False)
class WriteTable:
    """Publish a VIP's table in place of `before`; with `fingerprint` the next daemon knows it without reading it."""

    vip_id: int
    key: VipKey
    table: HeldTable
    before: HeldTable
    fingerprint: bytes = b""

    @property
    def moved(self) -> NDArray[np.intp]:
        """The numbers of the slots that start to move to a new owner, or go on to another one."""
        return self.table.moved_from(self.before)

    def apply(self, plane: DataPlane) -> None:
        """Publish it. Blocks."""
        plane.write_table(self.vip_id, self.table.slots, self.fingerprint)

    def note_in(self, held: HeldLater) -> None:
        """Note what the maps hold once this is done."""
        held.tables[self.vip_id] = self.table


@dataclass(frozen=True, slots=True)
class WriteAccess:
    """Replace all access lists with these, by VIP id."""

    lists: Mapping[int, AccessList]

    def apply(self, plane: DataPlane) -> None:
        """Publish them. Blocks, for seconds with hundreds of thousands of prefixes."""
        plane.write_access(self.lists)

    def note_in(self, held: HeldLater) -> None:
        """Note what the maps hold once this is done."""
        held.access = self.lists


@dataclass(frozen=True, slots=True)
class WriteVips:
    """Write these VIPs into the index, and remove those with the ids `gone`."""

    vips: tuple[VipEntry, ...]
    gone: tuple[int, ...] = ()

    def apply(self, plane: DataPlane) -> None:
        """Publish it. Blocks."""
        plane.write_vips(self.vips, {*self.gone, *(entry.id for entry in self.vips)})

    def note_in(self, held: HeldLater) -> None:
        """Note what the maps hold once this is done."""
        for vip_id in self.gone:
            held.vips.pop(vip_id, None)
        held.vips.update((entry.id, entry) for entry in self.vips)


@dataclass(frozen=True, slots=True)
class StartVips:
    """Prepare these VIP ids for new VIPs: counters at zero, and an empty table."""

    vip_ids: tuple[int, ...]

    def apply(self, plane: DataPlane) -> None:
        """Prepare them. Blocks."""
        plane.start_vips(self.vip_ids)

    def note_in(self, held: HeldLater) -> None:
        """Note what the maps hold once this is done."""
        for vip_id in self.vip_ids:
            held.tables.setdefault(vip_id, NO_TABLE)


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Delete the table of a VIP that is no longer in the index."""

    vip_id: int

    def apply(self, plane: DataPlane) -> None:
        """Delete it. Blocks."""
        plane.delete_table(self.vip_id)

    def note_in(self, held: HeldLater) -> None:
        """Note what the maps hold once this is done."""
        held.tables.pop(self.vip_id, None)
        held.drafts.pop(self.vip_id, None)


@dataclass(frozen=True, slots=True)
class ClearBackends:
    """Clear the entries of backends that no table names any more."""

    ids: tuple[int, ...]

    def apply(self, plane: DataPlane) -> None:
        """Clear them. Blocks."""
        plane.clear_backends(self.ids)

    def note_in(self, held: HeldLater) -> None:
        """Note what the maps hold once this is done."""
        held.drop_backends(self.ids)


Step = WriteBackends | WriteTable | WriteAccess | WriteVips | StartVips | DeleteTable | ClearBackends
