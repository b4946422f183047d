# SPDX-License-Identifier: Apache-2.0
"""The old program of a swap, kept beside the new one until that has shown that it is no worse.

It is pinned, with its code and with what was counted before, so that a process that is started after a kill -9 can
judge and end the watch. The pin `watch` is made before the first NIC gets the new program and goes last; `meta` has the
new program's hash once all NICs have it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from . import libbpf
from .features import Features, feature_bits, features_of_bits
from .libbpf import Fd
from .links import pinned_links
from .maps import BpfMap, MapType
from .packet_counts import PacketCounts
from .pins import CODE, CODE_BEFORE, CODE_NEXT, PROGRAM, PROGRAM_BEFORE, PROGRAM_NEXT, WATCH, Meta
from .spans import Span
from .swap_guard import SwapGuard

__all__ = ["SwapWatch", "read_counts", "settle"]

_log = logging.getLogger(__name__)

_BYTES = 16384


@dataclass(slots=True)
class SwapWatch:
    """A swap that is watched: what the old program was made from and for, and what it did."""

    folder: Path
    program_hash: int
    features: Features
    text_hash: int
    """That of the new one."""
    before: Span
    swapped: PacketCounts
    """When the new program took over; its runs are counted from 0."""
    alone: bool = True
    """Whether nothing else has changed what becomes of packets since then."""

    @classmethod
    def begin(cls, folder: Path, meta: Meta, text_hash: int, first: PacketCounts, last: PacketCounts) -> Self:
        """Keep the pinned program, which is about to be replaced by one of this source. It was counted in between."""
        cls.forget(folder)
        for name, kept in ((PROGRAM, PROGRAM_BEFORE), (CODE, CODE_BEFORE)):
            if (folder / name).exists():  # an older xdplb has pinned no code
                with libbpf.obj_get(folder / name) as found:
                    libbpf.obj_pin(found, folder / kept)
        watch = cls(
            folder,
            meta.program_hash,
            meta.features,
            text_hash,
            last.since(first),
            PacketCounts(last.at, last.packets, 0),
        )
        with BpfMap.create(MapType.ARRAY, WATCH, value_size=_BYTES) as made:
            made.update(0, watch._dump())
            made.pin(folder / WATCH)
        return watch

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """Return the watch that another process has begun, None if there is none."""
        try:
            with BpfMap.open(folder / WATCH) as found:
                data = json.loads(found.read(0))
        except FileNotFoundError:
            cls.forget(folder)
            return None
        return cls(
            folder,
            data["program_hash"],
            features_of_bits(data["features"]),
            data["text_hash"],
            Span(**data["before"]),
            PacketCounts(**data["swapped"]),
            data["alone"],
        )

    def after(self) -> Span:
        """Return what the new program has done so far."""
        with libbpf.obj_get(self.folder / PROGRAM) as program:
            return read_counts(self.folder, program).since(self.swapped)

    def end_alone(self) -> None:
        """Note that other things may change what becomes of packets from now on."""
        self.alone = False
        with BpfMap.open(self.folder / WATCH) as found:
            found.update(0, self._dump())

    def is_undone(self, meta: Meta) -> bool:
        """Whether the old program is the one in use: the swap was rolled back, and then cut short."""
        return meta.program_hash == self.program_hash

    def is_cut_short(self, meta: Meta) -> bool:
        """Whether some NICs may still have the old program."""
        return meta.program_hash == 0

    def finish(self) -> None:
        """Give the old program up."""
        self.forget(self.folder)

    def roll_back(self, meta: Meta) -> None:
        """Put the old program back on all NICs, each by one atomic swap. If it is cut short, it can be repeated."""
        meta.set_program(0, meta.features)
        with libbpf.obj_get(self.folder / PROGRAM_BEFORE) as program:
            for link in pinned_links(self.folder):
                if not link.is_dead:
                    with link.open() as opened:
                        libbpf.link_update(opened, program)
        for kept, spare, name in ((CODE_BEFORE, CODE_NEXT, CODE), (PROGRAM_BEFORE, PROGRAM_NEXT, PROGRAM)):
            (self.folder / spare).unlink(missing_ok=True)
            if (self.folder / kept).exists():
                with libbpf.obj_get(self.folder / kept) as found:
                    libbpf.obj_pin(found, self.folder / spare)
                (self.folder / spare).replace(self.folder / name)
        meta.set_program(self.program_hash, self.features)
        self.forget(self.folder)

    @staticmethod
    def forget(folder: Path) -> None:
        """Remove what is kept of a swap."""
        for name in (WATCH, PROGRAM_BEFORE, CODE_BEFORE):
            (folder / name).unlink(missing_ok=True)

    def _dump(self) -> bytes:
        data = {
            "program_hash": self.program_hash,
            "features": feature_bits(self.features),
            "text_hash": self.text_hash,
            "before": asdict(self.before),
            "swapped": asdict(self.swapped),
            "alone": self.alone,
        }
        return json.dumps(data).encode().ljust(_BYTES)


def settle(folder: Path, guard: SwapGuard | None) -> str | None:
    """Go on with what a killed process was doing: finish its swap's watch, or put the old program back.

    A watch whose time is not over is left to be gone on with. Returns what was worse with a program that is put back.
    """
    watch = SwapWatch.open(folder)
    if watch is None:
        return None
    meta = Meta.open(folder)
    if watch.is_undone(meta):
        watch.finish()
    elif watch.is_cut_short(meta):
        watch.roll_back(meta)
    elif guard is None:
        watch.finish()
    else:
        after = watch.after()
        if (worse := guard.worse(watch.before, after, alone=watch.alone)) is not None:
            watch.roll_back(meta)
            meta.set_refused_text(watch.text_hash)
            _log.info("the program before the one that was swapped in last is put back: %s", worse)
            return worse
        if after.seconds >= guard.watch_seconds:
            watch.finish()
    return None


def read_counts(folder: Path, program: Fd) -> PacketCounts:
    """Return what the program that uses the maps in `folder` has counted."""
    with BpfMap.open(folder / "reason_stats") as reasons, BpfMap.open(folder / "vip_stats") as vips:
        return PacketCounts.read(reasons, vips, program)
