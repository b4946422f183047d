# SPDX-License-Identifier: Apache-2.0
"""Programs that are compiled once for many tests: one of the same source and flags is loaded again with other maps.

The compiler takes seconds, and the kernel some tenths of one. What comes of a source with its flags is the same each
time; what differs is the folder with the maps, whose descriptors are put into the instructions, as for a program that
is tried. Tests of the compiling itself do without.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xdplb.dataplane import programs as loading
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.instructions import Instructions
from xdplb.dataplane.libbpf import obj_pin
from xdplb.dataplane.maps import BpfMap

__all__ = ["compile_once"]

_Key = tuple[str, tuple[str, ...], tuple[str, ...]]
_Known = dict[str, tuple[bytes, tuple[str, ...]]]
"""By function: the code, and the names of the maps in it."""

_compiled: dict[_Key, _Known] = {}


def compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the loader compile no program twice in this process."""
    monkeypatch.setattr(loading, "compile_program", _compile_once(compile_program))


def _compile_once(compiler: Callable[..., dict[str, Instructions]]) -> Callable[..., dict[str, Instructions]]:
    def compiled(
        text: str, flags: list[str], programs: dict[str, Path], *, cache_dir: Path | None = None
    ) -> dict[str, Instructions]:
        (folder,) = {path.parent for path in programs.values()}
        key = text, tuple(flag for flag in flags if not flag.startswith("-DPIN_DIR=")), tuple(programs)
        known = _compiled.get(key)
        if known is not None:
            return {name: _load(name, *known[name], folder, path) for name, path in programs.items()}
        made = compiler(text, flags, programs, cache_dir=cache_dir)
        names = _names_of_maps(folder)
        if all(number in names for each in made.values() for number in each.map_ids):
            _compiled[key] = {name: (each.code, tuple(names[n] for n in each.map_ids)) for name, each in made.items()}
        return made

    return compiled


def _load(name: str, code: bytes, maps: tuple[str, ...], folder: Path, pin: Path) -> Instructions:
    opened = [BpfMap.open(folder / each) for each in maps]
    try:
        loaded = Instructions(code, tuple(each.info.id for each in opened))
        obj_pin(loaded.load(name, opened), pin)
    finally:
        for each in opened:
            each.close()
    return loaded


def _names_of_maps(folder: Path) -> dict[int, str]:
    """Return the names of the maps that are pinned in a folder, by the kernel's ids."""
    found = {}
    for path in folder.iterdir():
        try:
            with BpfMap.open(path) as opened:
                found[opened.info.id] = path.name
        except OSError:  # a program, a link or a folder
            continue
    return found
