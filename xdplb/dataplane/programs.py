"""The pinned program of a folder: kept while its source is the same, else compiled anew and swapped under traffic."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from . import bpffs, libbpf
from .compile import compile_program
from .features import Features
from .libbpf import Fd
from .links import pinned_links
from .pins import META, PROGRAM, PROGRAM_EXPLAIN, PROGRAM_NEXT, Meta
from .source import flatten, source_dir, source_hash

__all__ = ["current_program", "explaining_program", "remove_if_unused", "remove_pins"]


def current_program(
    folder: Path,
    meta: Meta,
    name: str,
    flags: list[str],
    cache_dir: Path | None = None,
    *,
    features: Features = frozenset(),
) -> Fd:
    """Return the program `name` (of `name`.c) pinned in `folder`, made from the present source with these flags.

    All NICs that have it get the new one, each by one atomic swap; `features` are those that `flags` compile in, for
    `meta`. After an error all have the old one as before.
    """
    text = flatten(source_dir() / f"{name}.c")
    wanted = source_hash(text, flags)
    pin, pin_next = folder / PROGRAM, folder / PROGRAM_NEXT
    if pin.exists() and meta.program_hash == wanted:
        return libbpf.obj_get(pin)
    pin_next.unlink(missing_ok=True)
    compile_program(text, flags, {name: pin_next}, cache_dir=cache_dir)
    program = libbpf.obj_get(pin_next)
    with ExitStack() as undo:
        undo.callback(pin_next.unlink)
        _begin_swap(meta, undo)
        _swap(folder, program, undo)
        pin_next.replace(pin)
        undo.pop_all()
    meta.set_program(wanted, features)
    return program


def explaining_program(folder: Path, meta: Meta, name: str, flags: list[str], cache_dir: Path | None = None) -> Fd:
    """Return the program that decides as `name` does with these flags and only says so; it is on no NIC."""
    text, flags = flatten(source_dir() / f"{name}.c"), [*flags, "-DWITH_EXPLAIN=1"]
    wanted = source_hash(text, flags)
    pin = folder / PROGRAM_EXPLAIN
    if not pin.exists() or meta.explain_hash != wanted:
        pin.unlink(missing_ok=True)
        compile_program(text, flags, {name: pin}, cache_dir=cache_dir)
        meta.set_explain_hash(wanted)
    return libbpf.obj_get(pin)


def _begin_swap(meta: Meta, undo: ExitStack) -> None:
    """Let `meta` know no program, so that a swap cut short by the process's end is done again the next time."""
    undo.callback(meta.set_program, meta.program_hash, meta.features)
    meta.set_program(0, meta.features)


def _swap(folder: Path, program: Fd, undo: ExitStack) -> None:
    for link in pinned_links(folder):
        if not link.is_dead:
            before = libbpf.program_by_id(link.program_id)
            with link.open() as opened:
                libbpf.link_update(opened, program)
            undo.callback(_put_back, link.path, before)


def _put_back(pin: Path, program: Fd) -> None:
    with libbpf.obj_get(pin) as link:
        libbpf.link_update(link, program)


def remove_pins(folder: Path, maps: Collection[str]) -> int:
    """Remove all pins but links and return how many there were.

    `meta` goes first, so that what is left of a removal cut short is not taken up again.
    """
    names = (META, PROGRAM_NEXT, PROGRAM_EXPLAIN, PROGRAM, *maps)
    there = [folder / name for name in names if (folder / name).exists()]
    for path in there:
        path.unlink()
    return len(there)


def remove_if_unused(folder: Path, maps: Collection[str]) -> list[str]:
    """Remove program, maps and folder if no NIC is attached; return what was removed."""
    if pinned_links(folder):
        return []
    count = remove_pins(folder, maps)
    removed = [f"the program and its maps ({count} pins in {folder})"] if count else []
    if bpffs.remove_directory(folder):
        removed.append(f"the folder {folder}")
    return removed
