# SPDX-License-Identifier: Apache-2.0
"""Reads how many packets a program has sent, passed, dropped and answered, by reason."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from . import layout
from .libbpf import Fd, program_info
from .maps import BpfMap
from .reasons import REASONS
from .spans import SENT, UNCOUNTED, Span

__all__ = ["PacketCounts"]

_REPLIES = layout.VIP_COUNTERS.fields["replies"][1] // 8 if layout.VIP_COUNTERS.fields else 0
_NAMES = {reason.number: reason.name for reason in REASONS}


@dataclass(frozen=True, slots=True)
class PacketCounts:
    """The counters at a time of CLOCK_BOOTTIME; `runs` is how often the program had run, see `libbpf.count_runs`."""

    at: float
    packets: Mapping[str, int]
    runs: int

    @classmethod
    def read(cls, reason_stats: BpfMap, vip_stats: BpfMap, program: Fd) -> Self:
        """Read them. Packets that come meanwhile may be in some of them only."""
        runs = program_info(program).runs
        reasons = reason_stats.read_all()[1].view(np.uint64).reshape(reason_stats.info.max_entries, -1).sum(axis=1)
        fields = vip_stats.info.value_size // 8
        counted = np.ascontiguousarray(vip_stats.read_all()[1]).view(np.uint64).reshape(-1, fields)
        # Of a map that an older xdplb made, and that has not been carried over yet, the last field may be missing.
        sent = counted[:, [field for field in (0, _REPLIES) if field < fields]].sum()
        numbers = np.flatnonzero(reasons).tolist()
        packets = {_NAMES.get(number, f"reason_{number}"): int(reasons[number]) for number in numbers}
        return cls(time.clock_gettime(time.CLOCK_BOOTTIME), {**packets, SENT: int(sent)}, runs)

    def since(self, first: PacketCounts) -> Span:
        """Return what was counted after `first`. Counters that were reset meanwhile count as nothing."""
        packets = {name: max(0, count - first.packets.get(name, 0)) for name, count in self.packets.items()}
        uncounted = max(0, self.runs - first.runs - sum(packets.values()))
        return Span(self.at - first.at, {**packets, UNCOUNTED: uncounted})
