# SPDX-License-Identifier: Apache-2.0
"""A program loaded with maps of its own, on which it can be tried without a trace in those that packets use.

What packets only read (VIPs, tables, backends, access lists) is shared: the program sees it as it is. What packets
write is a copy: flow records, the load of backends, the turn of rr. Counters start at zero and are plain arrays that
are mapped into this process, which makes it cheap to read the reason of each packet.

Two programs are compared packet by packet, so nothing may depend on when a packet runs: buckets of rate limits are
large enough for all of them (`Limits.ROOMY`) or are full after the first packet for longer than a comparison takes
(`Limits.TIGHT`), and the budget of answers is filled up before each packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import layout
from .flow_lines import FlowLines
from .libbpf import Fd, prog_test_run
from .map_layout import MapLayout
from .map_specs import BPF_F_MMAPABLE
from .maps import BpfMap, MapType
from .program_code import ProgramCode

__all__ = ["Limits", "PacketResult", "Rows", "Shadow", "Side", "bytes_of_copies", "recorded_keys"]

_SHARED = frozenset(
    {
        *("vip_index", "vip_index6", "vip_prefixes", "vip_prefixes6", "vip_tables"),
        *("backends", "quic_servers", "nat_backends", "nat_direct", "nat_index", "client_ways"),
        *("tx_ports", "access4", "access6"),
        "tunnel_sources",
    }
)
_COUNTED = {"reason_stats", "answer_budget"}
_EMPTY = {"vip_stats", "backend_stats", "second_stats", "nic_stats", "vip_buckets", "source_buckets", "fragments"}
_EMPTY |= {"explain_decision", "capture_decision", "capture_events", "capture_filter"}
_EMPTY |= {"handshake_shares", "handshakes", "handshake_stats", "shared_flows", "shared_losses"}
_EMPTY |= {"unwrapped_packets"}
_COSTS = ("source_packet_cost", "source_flow_cost", "packet_cost", "flow_cost")

MOST_COPIED = 1 << 16
"""How many flow records are copied of a table, and what a table of the kernel has room for. Its records go to
the programs as they are read, so both have the same."""


class Limits(Enum):
    """How rate limits are while a program is tried."""

    ROOMY = 1
    TIGHT = layout.BUCKET_NS

    def cost(self, costs: NDArray[Any]) -> NDArray[Any]:
        """Return what a packet costs, in ns of a bucket, where there is a limit."""
        return np.where(costs > 0, np.uint64(self.value), np.uint64(0))


@dataclass(frozen=True, slots=True)
class Side:
    """A program that can be tried: its code, and the folder in which its maps are pinned, with their layouts."""

    code: ProgramCode
    folder: Path
    layouts: Mapping[str, MapLayout]


@dataclass(frozen=True, slots=True)
class PacketResult:
    """What a program did with a packet: XDP's verdict, the packet after it, and the reason's number, 0 for none."""

    verdict: int
    frame: bytes
    reason: int


@dataclass(slots=True)
class Rows:
    """Keys and values of maps, read once: two programs that share a map get the same, though packets go on writing."""

    _read: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = field(default_factory=dict)

    def of(self, found: BpfMap) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return what a map has, without rows that are all zero, and no more than MOST_COPIED."""
        if found.info.id not in self._read:
            keys, values = found.read_all()
            used = np.flatnonzero(values.any(axis=1))[:MOST_COPIED]
            self._read[found.info.id] = keys[used], values[used]
        return self._read[found.info.id]


class Shadow:
    """A program of a side, with maps of its own, open as long as the block runs. `load` loads it, once."""

    def __init__(self, name: str, side: Side, rows: Rows) -> None:
        self._name, self._side, self._rows = name, side, rows
        with ExitStack() as opened:
            self.maps = {each: opened.enter_context(self._map(each)) for each in side.code.maps}
            self._counted = [opened.enter_context(_Counted(self.maps[each])) for each in _COUNTED if each in self.maps]
            reasons = [each.values for each in self._counted if each.map is self.maps.get("reason_stats")]
            self._reasons = reasons[0] if reasons else np.zeros(0, np.uint64)  # of a program that counts nothing
            self.limit(Limits.ROOMY)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del self._reasons
        self._opened.close()

    def load(self) -> None:
        """Load the program, which the kernel takes its time to verify; it may be called in any thread."""
        self._program: Fd = self._opened.enter_context(self._side.code.load(self._name, self.maps))

    def run(self, frame: bytes, ifindex: int) -> PacketResult:
        """Run the program on a frame that comes in by this NIC."""
        for each in self._counted:
            each.values[:] = 0
        result = prog_test_run(self._program, frame, ifindex=ifindex)
        reasons = np.flatnonzero(self._reasons)
        return PacketResult(result.verdict, result.packet, int(reasons[0]) if len(reasons) else 0)

    def limit(self, limits: Limits) -> None:
        """Set the rate limits of VIPs that have some."""
        guards = self.maps.get("vip_guards")
        if guards is not None:
            keys, raw = guards.read_all()
            values = np.ascontiguousarray(raw).reshape(-1).view(self._side.layouts["vip_guards"].value).copy()
            for cost in _COSTS:
                values[cost] = limits.cost(values[cost])
            guards.update_batch(keys, values)

    def _map(self, name: str) -> BpfMap:
        found = BpfMap.open(self._side.folder / name)
        if name in _SHARED:
            return found
        with found:
            return self._copy(name, found)

    def _copy(self, name: str, found: BpfMap) -> BpfMap:
        info = found.info
        kind, flags, entries = MapType(info.type), info.flags, info.max_entries
        if kind is MapType.PERCPU_ARRAY:
            kind, flags = MapType.ARRAY, BPF_F_MMAPABLE if name in _COUNTED else 0
        elif kind is MapType.LRU_HASH:
            entries = min(entries, MOST_COPIED)
        made = BpfMap.create(
            kind, name, key_size=info.key_size, value_size=info.value_size, max_entries=entries, flags=flags
        )
        if name not in _EMPTY | _COUNTED:
            made.update_batch(*self._rows.of(found))
        return made


def bytes_of_copies(side: Side) -> int:
    """Return how much memory the maps of a shadow take, about: nearly all of it is for flow records."""
    total = 0
    for name in set(side.code.maps) - _SHARED:
        with BpfMap.open(side.folder / name) as found:
            info = found.info
        entries = min(info.max_entries, MOST_COPIED) if info.type == MapType.LRU_HASH else info.max_entries
        total += entries * (info.key_size + info.value_size)
    return total


def recorded_keys(side: Side) -> dict[int, list[bytes]]:
    """Return keys of the flow records that are copied for a program, by version of IP; layouts are the present ones."""
    rows, found = Rows(), dict[int, list[bytes]]()
    for version, names in {4: ("flows", "probation"), 6: ("flows6", "probation6")}.items():
        keys = [
            raw.tobytes()
            for name in names
            if name in side.code.maps
            for raw in rows.of(BpfMap.open(side.folder / name))[0]
        ]
        lines = "flow_lines" if version == 4 else "flow_lines6"
        if lines in side.code.maps:
            with FlowLines(BpfMap.open(side.folder / lines)) as opened:
                keys += [raw.tobytes() for raw in opened.read_all()[0][:MOST_COPIED]]
        found[version] = keys
    return found


class _Counted:
    """The values of an array, mapped into this process."""

    def __init__(self, found: BpfMap) -> None:
        self.map = found
        words = found.info.max_entries * found.info.value_size // 8
        self._memory = found.mapped(writable=True)
        self.values = np.frombuffer(self._memory, np.uint64, words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del self.values
        self._memory.close()
