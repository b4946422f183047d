"""The pinned program of a folder: kept while its source is the same, else compiled anew and swapped under traffic."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from . import bpffs, libbpf
from .compile import compile_program
from .libbpf import Fd
from .links import pinned_links
from .pins import META, PROGRAM, PROGRAM_NEXT, Meta
from .source import flatten, source_dir, source_hash

__all__ = ["current_program", "remove_if_unused", "remove_pins"]


def current_program(folder: Path, meta: Meta, name: str, flags: list[str], cache_dir: Path | None) -> Fd:
    """Return the program `name` (of `name`.c) pinned in `folder`, made from the present source with these flags.

    All NICs that have it get the new one, each by one atomic swap. A swap cut short is done again the next time, since
    `meta` gets its hash last.
    """
    text = flatten(source_dir() / f"{name}.c")
    wanted = source_hash(text, flags)
    pin, pin_next = folder / PROGRAM, folder / PROGRAM_NEXT
    if pin.exists() and meta.program_hash == wanted:
        return libbpf.obj_get(pin)
    pin_next.unlink(missing_ok=True)
    compile_program(text, flags, {name: pin_next}, cache_dir=cache_dir)
    program = libbpf.obj_get(pin_next)
    for link in pinned_links(folder):
        if not link.is_dead:
            with link.open() as opened:
                libbpf.link_update(opened, program)
    pin_next.replace(pin)
    meta.set_program_hash(wanted)
    return program


def remove_pins(folder: Path, maps: Collection[str]) -> int:
    """Remove all pins but links and return how many there were.

    `meta` goes first, so that what is left of a removal cut short is not taken up again.
    """
    there = [folder / name for name in (META, PROGRAM_NEXT, PROGRAM, *maps) if (folder / name).exists()]
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
