# SPDX-License-Identifier: Apache-2.0
"""Records that other balancers tell of: what becomes of one if there is a record already, and how they are written.

They go to the kernel's tables `flows` and `flows6`, where the program looks for what has no place in a line, and never
into a line: a program may be writing there. If it makes a record of the same flow at the same moment, that is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from xdplb.model.shared_record import ENDED, OPENED, SECOND_CHOICE, SharedRecords

from . import layout
from .flow_lines import FlowLines
from .maps import BPF_NOEXIST, BpfMap

__all__ = ["Fate", "FlowTeller", "ToldFlows", "after", "told_flows"]

_SURELY_LATER_NS = 3_000_000_000
"""A record notes a packet once a second at most, and clocks and the way between balancers take some time, too."""


class Fate(IntEnum):
    """What became of a record that was told of."""

    KNOWN = 0  # there is one already that says as much, or it has ended
    INSERTED = 1  # there was none
    CHANGED = 2  # there was one, which says more now, or names another backend


@dataclass(frozen=True, slots=True, eq=False)
class ToldFlows:
    """Records that were told of, in the layout of the maps: keys, values that they would have, and how much is known.

    `numbers` are their places among all that were told together. Keys are FLOW_KEY or FLOW6_KEY, values FLOW.
    """

    version: int
    numbers: NDArray[np.intp]
    keys: NDArray[np.void]
    values: NDArray[np.void]
    opened: NDArray[np.bool_]


def told_flows(
    records: SharedRecords,
    vips: NDArray[np.uint16],
    backends: NDArray[np.uint16],
    epochs: NDArray[np.uint16],
    now: int,
) -> Iterator[ToldFlows]:
    """Yield those of each IP version, in order; the columns are their VIPs' and backends' ids and epochs.

    `now` is ns of CLOCK_MONOTONIC.
    """
    values = np.zeros(len(records), layout.FLOW)
    values["backend"], values["epoch"], values["vip"] = backends, epochs, vips
    values["flags"] = (records["flags"] & (ENDED | SECOND_CHOICE)) | layout.FLOW_ESTABLISHED | layout.FLOW_FROM_PEER
    ages = (np.maximum(records["age"].astype(np.float64), 0.0) * 1e9).astype(np.int64)
    values["last_seen"] = np.maximum(now - ages, 1)
    opened = records["flags"] & OPENED != 0
    for version, kind in ((4, layout.FLOW_KEY), (6, layout.FLOW6_KEY)):
        numbers = np.flatnonzero(records["version"] == version)
        if len(numbers):
            yield ToldFlows(version, numbers, _keys(records[numbers], kind), values[numbers], opened[numbers])


def after(held: bytes | None, value: NDArray[np.void], *, opened: bool) -> NDArray[np.void] | None:
    """Return the record that a flow has once `value`, shape (1,), was told; None if what is `held` stays as it is.

    What was seen last counts. That of another backend must have been seen from its SYN on, or surely later than the
    one that there is, or that one must have ended: a record may be no more than what a slot says of old connections.
    """
    has_ended = bool(value["flags"][0] & ENDED)
    if held is None:
        return None if has_ended else value
    own = np.frombuffer(held, layout.FLOW)
    later = int(value["last_seen"][0]) - int(own["last_seen"][0])
    is_same = own["backend"][0] == value["backend"][0] and own["epoch"][0] == value["epoch"][0]
    is_over = bool(own["flags"][0] & ENDED)
    if not is_same:
        return value if later > 0 and not has_ended and (opened or is_over or later > _SURELY_LATER_NS) else None
    if opened and is_over and later > 0:
        return value
    merged = own.copy()
    merged["flags"] |= value["flags"] & np.uint16(ENDED | SECOND_CHOICE)
    merged["last_seen"] = max(int(own["last_seen"][0]), int(value["last_seen"][0]))
    is_worth_it = merged["flags"][0] != own["flags"][0] or later >= 1_000_000_000
    return merged if is_worth_it else None


class FlowTeller:
    """Writes them to the tables of one IP version, as long as these are open."""

    def __init__(self, flows: BpfMap, lines: FlowLines) -> None:
        self._flows, self._lines = flows, lines

    def write(self, told: ToldFlows) -> NDArray[np.uint8]:
        """Write records, or leave what there is; return the Fate of each."""
        fates = np.zeros(len(told.keys), np.uint8)
        in_lines = self._lines.have(told.keys)
        for number, is_in_line in enumerate(in_lines.tolist()):
            key, value = told.keys[number].tobytes(), told.values[number : number + 1]
            opened = bool(told.opened[number])
            if is_in_line:
                fates[number] = self._change_line(key, value, opened=opened)
            elif not self._insert(key, value):
                fates[number] = self._change(key, value, opened=opened)
            else:
                fates[number] = Fate.INSERTED
        return fates

    def _insert(self, key: bytes, value: NDArray[np.void]) -> bool:
        """Write a record if there is none; say so."""
        if after(None, value, opened=False) is None:
            return False
        try:
            self._flows.update(key, value, flags=BPF_NOEXIST)
        except FileExistsError:
            return False
        return True

    def _change(self, key: bytes, value: NDArray[np.void], *, opened: bool) -> Fate:
        held = self._flows.lookup(key)
        changed = None if held is None else after(held, value, opened=opened)
        if changed is None:
            return Fate.KNOWN
        self._flows.update(key, changed)
        return Fate.CHANGED

    def _change_line(self, key: bytes, value: NDArray[np.void], *, opened: bool) -> Fate:
        """Change a record that has a place in a line: it moves, so that a program finds one of the two at any time."""
        held = self._lines.lookup(key)
        changed = after(held, value, opened=opened)
        if changed is None:
            return Fate.KNOWN
        self._flows.update(key, changed)
        self._lines.delete_batch(np.frombuffer(key, np.uint8)[None, :])
        return Fate.CHANGED


def _keys(records: SharedRecords, kind: np.dtype[np.void]) -> NDArray[np.void]:
    keys = np.zeros(len(records), kind)
    lower = kind is layout.FLOW_KEY
    for name in ("source", "destination"):
        keys[name] = records[name][:, 1] & np.uint64(0xFFFFFFFF) if lower else records[name]
    for name in ("source_port", "destination_port", "protocol"):
        keys[name] = records[name]
    return keys
