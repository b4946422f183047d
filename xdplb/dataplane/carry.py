# SPDX-License-Identifier: Apache-2.0
"""Copying one map into the map that replaces it.

`fill` runs before packets use the new map, `finish` after none uses the old one any more: between the two, packets have
written to the old one first and to the new one then. What each kind of map needs:

- What only the control plane writes is copied once, and exact.
- Flow records and other tables that the kernel evicts from are copied, and what came after the copy is added: the newer
  one of two records for one key wins.
- Lines of flow records are places by a hash over their number. Their records are carried into the kernel's table of the
  same flows, which packets look into where a line has none.
- Counters start at zero, and what the old ones have is added when nobody writes them any more: exact.
- When a connection of a VIP was last seen that its slot does not place is copied, and the later of two times wins.
- Buckets and loads are copied. The new ones miss what packets changed between the copy and the swap,
  some milliseconds: a load is set right by the next scan of the flow tables, a bucket fills up within a second anyway.
- What a program leaves for one packet alone is not carried.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import layout
from .counter_mover import CounterMover
from .flow_lines import FlowLines
from .inner_maps import open_inner, put_inner_maps, read_element, read_trie, swap_element, swap_trie
from .map_layout import MapLayout, convert
from .map_specs import U32, MapSpec
from .maps import BPF_NOEXIST, BpfMap, MapType
from .older_layouts import renumbered
from .vip_index import INDEXES
from .vip_prefixes import TRIES

__all__ = ["Pair", "backend_ids", "filling_order", "vip_ids"]

NOT_CARRIED = {"explain_decision", "capture_decision", "capture_filter", "capture_events"}
NOT_CARRIED |= {"shared_flows", "shared_losses"}  # peers pull what was in them
NOT_CARRIED |= {"nat_index"}  # a new one says that all is in nat_backends, until it is filled
COUNTERS = {"vip_stats", "backend_stats", "second_stats", "reason_stats", "nic_stats", "decap_stats"}
COUNTERS |= {"unwrapped_packets"}
STRAYS = "vip_strays"
LINES = {"flow_lines": "flows", "flow_lines6": "flows6"}
"""Where the records of lines are carried to."""

_CLOCK_LAG_NS = 1_000_000_000  # the coarse clock of records lags by some milliseconds
_MIXERS = np.random.default_rng(0).integers(0, 1 << 64, 64, np.uint64) | np.uint64(1)


@dataclass(frozen=True, slots=True)
class Rows:
    """Keys and values of a table as they were read, each of shape (n, bytes)."""

    keys: NDArray[np.uint8]
    values: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Rows:
        return Rows(self.keys[chosen], self.values[chosen])

    def not_in(self, others: Rows) -> Rows:
        """Return the rows that `others` does not have with the same key and value."""
        mine, theirs = (_fingerprints(np.hstack([rows.keys, rows.values])) for rows in (self, others))
        return self[~np.isin(mine, theirs)]

    def without_key_in(self, others: Rows) -> Rows:
        """Return the rows whose key is not in `others`."""
        return self[~np.isin(_fingerprints(self.keys), _fingerprints(others.keys))]


class LinesAsTable(BpfMap):
    """Lines of flow records that are read as the table of the same flows would be; `line` is their layout."""

    def __init__(self, lines: BpfMap, line: np.dtype[Any]) -> None:
        super().__init__(lines.fd)
        self._lines, self._line = lines, line

    def read_all(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return all keys and values, each of shape (n, bytes)."""
        with FlowLines(self._lines, self._line) as lines:
            return lines.read_all()


@dataclass(slots=True)
class Pair:
    """A map, and the one that replaces it; `before` and `after` are their layouts."""

    name: str
    old: BpfMap
    new: BpfMap
    before: MapLayout
    after: MapLayout
    _filled: Rows | None = None
    _filled_keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    _read_at: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        old: BpfMap,
        new: Mapping[str, BpfMap],
        before: Mapping[str, MapLayout],
        after: Mapping[str, MapLayout],
    ) -> Self:
        """Return the pair of an old map, given all new ones and the layouts of all."""
        target = LINES.get(name)
        if target is None:
            return cls(name, old, new[name], before[name], after[name])
        place = before[name].value["places"].base
        read_as = MapLayout(before[name].version, after[target].key, place["flow"])
        return cls(name, LinesAsTable(old, before[name].value), new[target], read_as, after[target])

    def fill(self, spec: MapSpec) -> None:
        """Copy the old map into the new one, of this spec, which no packet uses yet."""
        if self.name in NOT_CARRIED | COUNTERS:
            return
        if self.name in INDEXES:
            self._rebuild_index()
        elif self.name in TRIES:
            assert spec.inner is not None
            swap_trie(self.new, spec.inner, self._converted_trie())
        elif self.new.info.type == MapType.ARRAY_OF_MAPS:
            self._copy_inner_maps(spec)
        elif self.new.info.type in {MapType.ARRAY, MapType.PERCPU_ARRAY}:
            self._copy_array()
        else:
            self._copy_table()

    def catch_up(self) -> None:
        """Add the records that came since the table was copied: quickly, since a connection may depend on it."""
        if self.name == STRAYS:
            self._keep_later()
            return
        if self._filled is None or "last_seen" not in (self.before.value.names or ()):
            return
        rows = self._rows()
        last_seen = np.ascontiguousarray(rows.values).reshape(-1).view(self.before.value)["last_seen"]
        recent = rows[last_seen + np.uint64(_CLOCK_LAG_NS) >= self._read_at]
        fingerprints = _fingerprints(recent.keys)
        places = np.searchsorted(self._filled_keys, fingerprints)
        is_known = np.take(self._filled_keys, places, mode="clip") == fingerprints if len(self._filled_keys) else False
        self._add(recent[np.broadcast_to(~np.asarray(is_known), len(recent))])

    def finish(self, markers: Path) -> None:
        """Copy the rest. Packets use only the new map by now.

        A map pinned in `markers` says which counters were moved already, so that another process can go on after a
        crash.
        """
        if self.name in COUNTERS:
            self._move_counters(markers / f"moved_{self.name}")
        elif self.new.info.type == MapType.LRU_HASH:
            rows, filled = self._rows(), self._filled
            self._add(rows if filled is None else rows.not_in(filled))
            if filled is not None:
                self._delete(filled.without_key_in(rows))

    # what only the control plane writes

    def _rebuild_index(self) -> None:
        family = INDEXES[self.name]
        raw = read_element(self.old, 0)
        if raw is None:
            return
        found = np.frombuffer(raw, self.before.value)
        entries = family.entries_of(convert(found, family.index(_groups(self.before))))
        swap_element(self.new, 0, self.name, family.place(entries, _groups(self.after)))

    def _converted_trie(self) -> dict[bytes, NDArray[Any]]:
        return {
            convert(np.frombuffer(key, self.before.key), self.after.key).tobytes(): convert(
                np.frombuffer(value, self.before.value), self.after.value
            )
            for key, value in read_trie(self.old)
        }

    def _copy_inner_maps(self, spec: MapSpec) -> None:
        """Put the old inner maps into the new map, or converted copies where their layout is different."""
        assert spec.inner is not None
        inner_maps: dict[int, BpfMap] = {}
        for key in range(min(self.old.info.max_entries, self.new.info.max_entries)):
            inner = open_inner(self.old, key)
            if inner is None:
                continue
            if self.before.version != self.after.version:
                with inner:
                    value = convert(np.frombuffer(inner.read(0), self.before.value), self.after.value)
                inner = spec.inner.create()
                inner.update(0, value)
            inner_maps[key] = inner
        put_inner_maps(self.new, inner_maps)

    # arrays and tables

    def _copy_array(self) -> None:
        count = min(self.old.info.max_entries, self.new.info.max_entries)
        values = self.old.read_all()[1][:count]
        if self.before.value != self.after.value:
            values = _raw(convert(_elements(values, self.before.value), self.after.value))
        self.new.update_batch(np.arange(count, dtype=np.uint32), values)

    def _keep_later(self) -> None:
        """Take over the times that are later in the old map: without them, packets do not look for their records."""
        count = min(self.old.info.max_entries, self.new.info.max_entries)
        old, new = (found.read_all()[1][:count].view(np.uint64).reshape(-1) for found in (self.old, self.new))
        later = np.flatnonzero(old > new).astype(np.uint32)
        if len(later):
            self.new.update_batch(later, old[later])

    def _copy_table(self) -> None:
        self._read_at = time.monotonic_ns()
        self._filled = self._rows()
        self._filled_keys = np.sort(_fingerprints(self._filled.keys))
        keys, values = self._converted(self._filled)
        if self.new.info.type == MapType.DEVMAP_HASH:
            for key, value in zip(keys, values, strict=True):
                self.new.update(key, value)
        elif len(keys):
            self.new.update_batch(keys, _raw(values))

    def _rows(self) -> Rows:
        if self.old.info.type == MapType.DEVMAP_HASH:
            pairs = list(self.old.items())
            sizes = (self.old.info.key_size, self.old.info.value_size)
            columns = (np.frombuffer(b"".join(part), np.uint8) for part in zip(*pairs, strict=True))
            found = [column.reshape(len(pairs), size) for column, size in zip(columns, sizes, strict=False)]
            return Rows(*(found or [np.empty((0, size), np.uint8) for size in sizes]))
        return Rows(*self.old.read_all())

    def _add(self, rows: Rows) -> None:
        """Add records that the old table got or changed since the copy, unless the new one has a later one."""
        for key, value in zip(*self._converted(rows), strict=True):
            held = self.new.lookup(key)
            if held is None:
                with suppress(FileExistsError):
                    self.new.update(key, value, flags=BPF_NOEXIST)
            elif (merged := _merged(value, np.frombuffer(held, self.after.value)[0])) is not None:
                self.new.update(key, merged)

    def _delete(self, rows: Rows) -> None:
        """Delete the records that the old table no longer has, such as one that has left probation."""
        for key, value in zip(*self._converted(rows), strict=True):
            held = self.new.lookup(key)
            if held is not None and held == value.tobytes():  # else a packet has used it since
                self.new.delete(key)

    def _converted(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Return keys as bytes, shape (n, bytes), and values, shape (n,), in the new map's layout."""
        old_keys = np.ascontiguousarray(rows.keys).reshape(-1).view(self.before.key.base)
        keys = convert(old_keys, self.after.key.base).view(np.uint8).reshape(len(rows), self.after.key.itemsize)
        values = convert(np.ascontiguousarray(rows.values).reshape(-1).view(self.before.value), self.after.value)
        return keys, values

    # counters

    def _move_counters(self, marker: Path) -> None:
        numbers = renumbered(self.name, self.before.version)
        values = convert(_elements(self.old.read_all()[1], self.before.value), self.after.value)
        fields = values.view(np.uint64).reshape(*values.shape, -1)
        sums = fields.sum(axis=1, dtype=np.uint64)
        with _marker(marker, self.new.info.max_entries) as moved, CounterMover(self.new, moved) as mover:
            for number in np.flatnonzero(sums.any(axis=1)).tolist():
                key = number if numbers is None else numbers.get(number)
                if key is not None and key < self.new.info.max_entries:
                    mover.add(key, sums[number])


def filling_order(spec: MapSpec) -> int:
    """Return the place of a map in the order of filling: the more packets change it, the later."""
    order = (MapType.ARRAY_OF_MAPS, MapType.LRU_HASH)
    return order.index(spec.kind) if spec.kind in order else len(order)


def vip_ids(name: str, found: BpfMap, before: MapLayout) -> set[int]:
    """Return the ids of the VIPs in one of the maps that have VIPs; none for other maps."""
    if name in INDEXES:
        raw = read_element(found, 0)
        entries = np.frombuffer(raw or b"", before.value)["entries"].reshape(-1)
        return set(entries["vip"]["id"][entries["protocol"] != 0].tolist())
    if name in TRIES:
        values = (np.frombuffer(value, before.value)[0] for _, value in read_trie(found))
        return {int(rule["vip"]["id"]) for value in values for rule in value["rules"][: value["count"]]}
    return set()


def backend_ids(found: BpfMap, before: MapLayout) -> list[int]:
    """Return the ids of the backends in the map of backends."""
    values = found.read_all()[1].view(before.value).reshape(-1)
    ids: list[int] = np.flatnonzero(values["forward"]).tolist()
    return ids


def _groups(index: MapLayout) -> int:
    entries: int = index.value["entries"].shape[0]
    return entries // layout.VIP_GROUP_SIZE


def _elements(values: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values as they were read, shape (n, bytes), as (n, CPUs): one CPU for a map that is not per CPU."""
    return np.ascontiguousarray(values).view(dtype).reshape(len(values), -1)


def _raw(elements: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(elements).view(np.uint8).reshape(len(elements), -1)


def _fingerprints(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return 64 bits for each row, which differ where the rows do."""
    padded = np.zeros((len(rows), -(-rows.shape[1] // 8) * 8), np.uint8)
    padded[:, : rows.shape[1]] = rows
    words = padded.view(np.uint64)
    fingerprints: NDArray[np.uint64] = (words * _MIXERS[: words.shape[1]]).sum(axis=1, dtype=np.uint64)
    return fingerprints


def _merged(value: np.void, held: np.void) -> NDArray[Any] | None:
    """Return the value to write for a key with `value` in the old table and `held` in the new; None to keep `held`.

    The later one counts, with the flags of both where it is the same connection. What has no time stays as it is.
    """
    names = value.dtype.names or ()
    if "last_seen" not in names or value["last_seen"] < held["last_seen"]:
        return None
    merged = np.array([value])
    if "flags" in names and value["backend"] == held["backend"] and value["epoch"] == held["epoch"]:
        merged["flags"] |= held["flags"]
    return merged


def _marker(path: Path, entries: int) -> BpfMap:
    """Open the map that says which keys are done, or create and pin it."""
    if path.exists():
        return BpfMap.open(path)
    made = MapSpec("moved", MapType.ARRAY, U32, U32, entries).create()
    made.pin(path)
    return made
