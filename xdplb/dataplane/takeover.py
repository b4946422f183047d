# SPDX-License-Identifier: Apache-2.0
"""Replacing pinned maps under traffic: for a newer layout, or for more room.

The new maps are made in the folder `next` beside the old ones. A map that stays as it is is pinned there too: the new
program goes on with the same one. The steps, and what happens if the process dies in one:

1. `next` gets the maps, those that differ still empty, and the program compiled for them. It has no `meta`, so that the
   next start discards it. Packets use the old program and the old maps.
2. What the old maps have is copied, and `meta` is pinned in `next`: it is ready. Packets still use the old ones, no NIC
   has the program of `next`, so the next start discards it.
3. Each NIC's link gets the new program in one atomic swap: a packet sees the old program with the old maps or the new
   one with the new maps. From the first link on, the next start goes on here: the other links, then what follows.
4. When no packet uses the old maps any more, what was written to them after the copy is carried over: see carry.py.
   Each part can be repeated; for counters, which must not be added twice, it is noted for each key that it is done.
5. `meta` says that all is carried. From here on the next start only moves pins.
6. The pins of `next` take the places of the old ones, each by one rename, `meta` last; before it go the pins that
   nothing needs any more. What is left of `next` without `meta` is discarded as in step 1.

An older xdplb that is started over what a dead one left swaps its own program in and goes on with the old maps; no NIC
then has the program of `next`, which the next start of a newer one discards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from xdplb.model.errors import ConflictError

from . import bpffs, layout, libbpf
from .capacity import too_low
from .carry import LINES, Pair, backend_ids, filling_order, vip_ids
from .features import Features
from .flow_lines import FlowLines
from .grace import wait_for_packets
from .guarded_swap import ROLLED_BACK_HINT, GuardedSwap
from .libbpf import Fd
from .links import pinned_links
from .map_layout import MapLayout
from .map_specs import MapSpec
from .maps import BpfMap
from .pins import CODE, CODE_NEXT, META, NEXT, PROGRAM, PROGRAM_EXPLAIN, PROGRAM_NEXT, Meta
from .plane import Capacity
from .programs import discard_staged, stage_program, swap_links, text_hash
from .swap_guard import SwapGuard
from .swap_watch import SwapWatch
from .versions import DOWN_AND_UP, check_readable

__all__ = ["Wanted", "finish_or_discard", "take_over"]

Layouts = Mapping[str, MapLayout]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The pins that a folder is to have.

    `name` is the program's; `specs` are the maps with these features, `layouts` those of all maps that there can be;
    `flags` returns the compiler's for maps in a folder; `make` makes a map that is ready for use; a program of
    another source has to pass `guard`.
    """

    folder: Path
    name: str
    capacity: Capacity
    features: Features
    specs: tuple[MapSpec, ...]
    layouts: Layouts
    flags: Callable[[Path], list[str]]
    make: Callable[[MapSpec], BpfMap] = MapSpec.create
    cache_dir: Path | None = None
    guard: SwapGuard | None = None


def take_over(wanted: Wanted) -> None:
    """Replace what is pinned by what is wanted; do nothing if the maps are the same.

    ConflictError if the pinned maps cannot be carried over, CapacityError if they do not fit, PlatformError if the
    kernel refuses. After an error everything is as before.
    """
    folder, staging = wanted.folder, wanted.folder / NEXT
    meta = Meta.open(folder)
    before, old = meta.layouts, _open(wanted)
    check_readable(before)
    _check_all_there(wanted, before, meta.features, old)
    kept = {
        spec.name
        for spec in wanted.specs
        if spec.name in old and spec.fits(old[spec.name]) and before.get(spec.name) == spec.layout
    }
    if _is_same(wanted, meta, kept):
        return
    _check_use(wanted, before, meta.capacity, old)
    guarded = _guarded(wanted, meta)
    with guarded or nullcontext(), ExitStack() as undo:
        bpffs.prepare(staging)
        undo.callback(discard_staged, folder)
        new = {spec.name: old[spec.name] if spec.name in kept else wanted.make(spec) for spec in wanted.specs}
        for name, found in new.items():
            found.pin(staging / name)
        program, code, program_hash = stage_program(folder, wanted.name, wanted.flags, new, wanted.cache_dir)
        pairs = [
            (spec, Pair.of(spec.name, old[spec.name], new, before, wanted.layouts))
            for spec in sorted(wanted.specs, key=filling_order)
            if spec.name in before and spec.name in old and spec.name not in kept
        ]
        for spec, pair in pairs:
            pair.fill(spec)
        for _, pair in pairs:
            pair.catch_up()
        if guarded is not None:
            guarded.compare(code, wanted.features, staging, wanted.layouts)
        Meta.create(
            staging,
            wanted.capacity,
            wanted.features,
            wanted.layouts,
            program_hash=program_hash,
            state=layout.META_READY,
        )
        with nullcontext() if guarded is None else guarded.watched(staging, program):
            swap_links(folder, wanted.name, program, undo)
            for _, pair in pairs:
                pair.catch_up()  # soon: a connection that has just begun may depend on it
        _carry([pair for _, pair in pairs], staging)
        undo.pop_all()
    _move_pins(folder)


def _guarded(wanted: Wanted, meta: Meta) -> GuardedSwap | None:
    if wanted.guard is None:
        return None
    swap = GuardedSwap.of(wanted.guard, wanted.folder, meta, wanted.name, text_hash(wanted.name))
    if swap is not None and swap.is_refused:
        raise ConflictError("the program of this xdplb was rolled back before", hint=ROLLED_BACK_HINT)
    return swap


def finish_or_discard(folder: Path, name: str) -> None:
    """Go on with a replacement that another process began and did not finish, or discard it."""
    staging = folder / NEXT
    if not (staging / META).exists():
        discard_staged(folder)
        return
    if Meta.open(staging).state != layout.META_CARRIED:
        with libbpf.obj_get(staging / PROGRAM) as program:
            if not _is_on_a_nic(folder, program):
                discard_staged(folder)
                return
            with ExitStack() as undo:
                swap_links(folder, name, program, undo)
                undo.pop_all()
        _carry(_pairs_left(folder), staging)
    _move_pins(folder)


def _is_on_a_nic(folder: Path, program: Fd) -> bool:
    program_id = libbpf.program_info(program).id
    return any(link.program_id == program_id for link in pinned_links(folder) if not link.is_dead)


def _open(wanted: Wanted) -> dict[str, BpfMap]:
    return {spec.name: found for spec in wanted.specs if (found := spec.open_in(wanted.folder)) is not None}


def _is_same(wanted: Wanted, meta: Meta, kept: Collection[str]) -> bool:
    """Whether the pinned maps are the wanted ones. Maps that only additional features need are created in place."""
    return (
        meta.layout_version == layout.LAYOUT_VERSION
        and meta.capacity == wanted.capacity
        and meta.layouts == wanted.layouts
        and all(spec.name in kept for spec in wanted.specs if spec.needs <= meta.features)
    )


def _check_all_there(wanted: Wanted, before: Layouts, features: Features, old: Collection[str]) -> None:
    """Raise ConflictError if a map that the pinned program uses is gone."""
    for spec in wanted.specs:
        if spec.name in before and spec.name not in old and spec.needs <= features:
            raise ConflictError(
                f"the maps pinned in {wanted.folder} cannot be taken over: the map {spec.name} is gone",
                hint=DOWN_AND_UP,
            )


def _check_use(wanted: Wanted, before: Layouts, there: Capacity, old: Mapping[str, BpfMap]) -> None:
    """Raise CapacityError if what is in use would not fit."""
    asked = wanted.capacity
    known = {name: found for name, found in old.items() if name in before}
    if asked.vips < there.vips:
        ids = set[int]().union(*(vip_ids(name, found, before[name]) for name, found in known.items()))
        if max(ids, default=0) >= asked.vips:
            raise too_low("vips", asked.vips, f"VIP id {max(ids)} is in use", max(ids) + 1)
    if asked.backends < there.backends:
        highest = max(backend_ids(old["backends"], before["backends"]), default=0)
        if highest > asked.backends:
            raise too_low("backends", asked.backends, f"backend id {highest} is in use", highest)
    if asked.flows < there.flows:
        shares = {"flows": 1, "flows6": 1, "probation": 4, "probation6": 4}
        records = {name: len(old[name].read_all()[0]) for name in shares if name in old}
        for name, target in LINES.items():
            if name in known:
                with FlowLines(known[name], before[name].value) as lines:
                    records[target] += len(lines.read_all()[0])
        fullest = max(records, key=lambda name: records[name] * shares[name])
        least = records[fullest] * shares[fullest]
        if least > asked.flows:
            room = f"room for {asked.flows // shares[fullest]} records"
            raise too_low("flows", asked.flows, f"{fullest} would have {room}, and has {records[fullest]}", least)


def _pairs_left(folder: Path) -> list[Pair]:
    """Return the maps that another process has begun to carry over."""
    staging = folder / NEXT
    before, after = Meta.open(folder).layouts, Meta.open(staging).layouts
    pairs = []
    for name in before.keys() & after.keys():
        if (folder / name).exists() and (staging / name).exists():
            old, new = BpfMap.open(folder / name), BpfMap.open(staging / name)
            if old.info.id != new.info.id:
                target = LINES.get(name, name)
                there = {target: BpfMap.open(staging / target)}
                pairs.append(Pair.of(name, old, there, before, after))
    return pairs


def _carry(pairs: Collection[Pair], staging: Path) -> None:
    for pair in pairs:
        pair.catch_up()
    wait_for_packets()
    for pair in pairs:
        pair.finish(staging)
    Meta.open(staging).set_state(layout.META_CARRIED)


def _move_pins(folder: Path) -> None:
    """Put the pins of `next` in their places, `meta` last, and remove those that nothing needs any more."""
    staging = folder / NEXT
    before, after = Meta.open(folder).layouts, Meta.open(staging).layouts
    for name in (PROGRAM, CODE, *after):
        if (staging / name).exists():
            (staging / name).replace(folder / name)
    SwapWatch.forget(folder)
    for name in (PROGRAM_EXPLAIN, PROGRAM_NEXT, CODE_NEXT, *(before.keys() - after.keys())):
        (folder / name).unlink(missing_ok=True)
    (staging / META).replace(folder / META)
    discard_staged(folder)
