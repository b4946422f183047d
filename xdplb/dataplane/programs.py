# SPDX-License-Identifier: Apache-2.0
"""The pinned program of a folder: kept if its source is the same, else recompiled and swapped under traffic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import cache
from pathlib import Path

from xdplb.model.errors import ConflictError

from . import bpffs, libbpf
from .compile import compile_program
from .features import Features
from .guarded_swap import GuardedSwap
from .libbpf import Fd
from .links import PinnedLink, pinned_links
from .pins import (
    CODE,
    CODE_BEFORE,
    CODE_NEXT,
    INSTANCE,
    META,
    NEXT,
    PROGRAM,
    PROGRAM_BEFORE,
    PROGRAM_EXPLAIN,
    PROGRAM_NEXT,
    WATCH,
    Meta,
)
from .program_code import ProgramCode
from .source import flatten, source_dir, source_hash
from .swap_guard import SwapGuard
from .swap_watch import SwapWatch

__all__ = [
    "current_program",
    "discard_staged",
    "explaining_program",
    "refuse_to_replace",
    "remove_if_unused",
    "remove_pins",
    "stage_program",
    "swap_links",
    "text_hash",
]

log = logging.getLogger(__name__)


def current_program(
    folder: Path,
    meta: Meta,
    name: str,
    flags: list[str],
    cache_dir: Path | None = None,
    *,
    features: Features = frozenset(),
    swapping: AbstractContextManager[object] | None = None,
    guard: SwapGuard | None = None,
) -> Fd:
    """Return the program `name` (of `name`.c) pinned in `folder`, made from the present source with these flags.

    All NICs that have it get the new one, each by one atomic swap; `features` are those that `flags` compile in, for
    `meta`. Another program that was put into xdplb's link is replaced too, with a warning in the log. After an
    error all NICs have the old one as before. `swapping` is held while the program is swapped, but not while it is
    compiled: nobody may attach the pinned one meanwhile. One of another source has to pass `guard` (ConflictError),
    and the old one is kept for it. If `guard` has rolled back this source before, the pinned program stays, if it has
    the features.
    """
    text = flatten(source_dir() / f"{name}.c")
    wanted, of_text = source_hash(text, flags), source_hash(text, [])
    pin, pin_next, code_next = folder / PROGRAM, folder / PROGRAM_NEXT, folder / CODE_NEXT
    if pin.exists() and meta.program_hash == wanted:
        return libbpf.obj_get(pin)
    guarded = None if guard is None else GuardedSwap.of(guard, folder, meta, name, of_text)
    with guarded or nullcontext(), ExitStack() as undo:
        if guarded is not None and guarded.keeps_old(features):
            return libbpf.obj_get(pin)
        pin_next.unlink(missing_ok=True)
        code_next.unlink(missing_ok=True)
        loaded = compile_program(text, flags, {name: pin_next}, cache_dir=cache_dir)[name]
        undo.callback(pin_next.unlink)
        program = libbpf.obj_get(pin_next)
        code = ProgramCode.of(libbpf.program_info(program).id, of_text, loaded, folder, meta.layouts)
        code.pin(code_next)
        undo.callback(code_next.unlink)
        if guarded is not None:
            guarded.compare(code, features, folder, meta.layouts)
        with swapping or nullcontext():
            if guarded is not None:
                guarded.keep_old(undo)
            _begin_swap(meta, undo)
            swap_links(folder, name, program, undo)
            pin_next.replace(pin)
            code_next.replace(folder / CODE)
            undo.pop_all()
            meta.set_program(wanted, features)
            if guarded is None:  # what is kept of an earlier swap has not these features
                SwapWatch.forget(folder)
    return program


def explaining_program(folder: Path, meta: Meta, name: str, flags: list[str], cache_dir: Path | None = None) -> Fd:
    """Return the explaining program: it decides as `name` does with these flags. It is on no NIC."""
    text, flags = flatten(source_dir() / f"{name}.c"), [*flags, "-DWITH_EXPLAIN=1"]
    wanted = source_hash(text, flags)
    pin = folder / PROGRAM_EXPLAIN
    if not pin.exists() or meta.explain_hash != wanted:
        pin.unlink(missing_ok=True)
        compile_program(text, flags, {name: pin}, cache_dir=cache_dir)
        meta.set_explain_hash(wanted)
    return libbpf.obj_get(pin)


def refuse_to_replace(folder: Path, name: str, what: str) -> None:
    """Raise ConflictError if a link of `folder` has another program, which `what` would replace."""
    for link in pinned_links(folder):
        other = _another_in(link, name)
        if other is not None:
            raise ConflictError(
                f"{link.nic} has the XDP program {other!r} in xdplb's link, and {what} would replace it",
                hint=f"first put the program pinned as {folder / PROGRAM} into {link.path}, and yours back afterwards",
            )


def _another_in(link: PinnedLink, name: str) -> str | None:
    """Return the name of the program in a link if it was not loaded as `name`.

    Not by its id: a swap cut short may have left a program of ours that is no longer pinned.
    """
    if link.is_dead:
        return None
    with libbpf.program_by_id(link.program_id) as program:
        found = libbpf.program_info(program).name
    return None if found == name else found


def _begin_swap(meta: Meta, undo: ExitStack) -> None:
    """Remove the program's hash from `meta`, so that an interrupted swap is done again the next time."""
    undo.callback(meta.set_program, meta.program_hash, meta.features)
    meta.set_program(0, meta.features)


def stage_program(
    folder: Path,
    name: str,
    flags: Callable[[Path], list[str]],
    layouts: Collection[str],
    cache_dir: Path | None = None,
) -> tuple[Fd, ProgramCode, int]:
    """Compile the program for the maps in the folder `next`, which have these names, and pin it there with its code.

    Return both, and its hash for `meta`. `flags` returns the compiler's for maps in a folder. The hash is of those
    that it has once it is in its place.
    """
    staging = folder / NEXT
    text = flatten(source_dir() / f"{name}.c")
    loaded = compile_program(text, flags(staging), {name: staging / PROGRAM}, cache_dir=cache_dir)[name]
    program = libbpf.obj_get(staging / PROGRAM)
    code = ProgramCode.of(libbpf.program_info(program).id, source_hash(text, []), loaded, staging, layouts)
    code.pin(staging / CODE)
    return program, code, source_hash(text, flags(folder))


@cache
def text_hash(name: str) -> int:
    """Return the hash of the present source of `name`, whatever it is compiled for."""
    return source_hash(flatten(source_dir() / f"{name}.c"), [])


def discard_staged(folder: Path) -> None:
    """Remove the folder `next` with all pins in it."""
    staging = folder / NEXT
    if staging.is_dir():
        for path in sorted(staging.iterdir(), key=lambda path: path.name != META):  # meta first: it is not ready now
            path.unlink()
        staging.rmdir()


def swap_links(folder: Path, name: str, program: Fd, undo: ExitStack) -> None:
    """Put the program into all links pinned in `folder`; `undo` gets what puts back the old ones.

    Another program (not loaded as `name`) is replaced too, with a warning in the log.
    """
    for link in pinned_links(folder):
        if not link.is_dead:
            other = _another_in(link, name)
            before = libbpf.program_by_id(link.program_id)
            with link.open() as opened:
                libbpf.link_update(opened, program)
            undo.callback(_put_back, link.path, before)
            if other is not None:
                log.warning(
                    "another XDP program in xdplb's link was replaced: interface=%s program=%r; "
                    "put it back if you need it",
                    link.nic,
                    other,
                )


def _put_back(pin: Path, program: Fd) -> None:
    with libbpf.obj_get(pin) as link:
        libbpf.link_update(link, program)


def remove_pins(folder: Path, maps: Collection[str]) -> int:
    """Remove all pins but links and return how many there were.

    `meta` goes first, so that the rest of an interrupted removal is not taken over.
    """
    discard_staged(folder)
    kept = (WATCH, PROGRAM_BEFORE, CODE_BEFORE)
    programs = (PROGRAM_NEXT, CODE_NEXT, PROGRAM_EXPLAIN, PROGRAM, CODE)
    names = (META, INSTANCE, *kept, *programs, *{*maps, *_described_maps(folder)})
    there = [folder / name for name in names if (folder / name).exists()]
    for path in there:
        path.unlink()
    return len(there)


def _described_maps(folder: Path) -> Collection[str]:
    """Return the names of the maps that `meta` describes; another version of xdplb may have other maps."""
    with suppress(OSError, ConflictError):
        return Meta.open(folder).layouts
    return ()


def remove_if_unused(folder: Path, maps: Collection[str]) -> list[str]:
    """Remove program, maps and folder if no NIC is attached; return what was removed."""
    if pinned_links(folder):
        return []
    count = remove_pins(folder, maps)
    removed = [f"the program and its maps ({count} pins in {folder})"] if count else []
    if bpffs.remove_directory(folder):
        removed.append(f"the folder {folder}")
    return removed
