# SPDX-License-Identifier: Apache-2.0
"""The pinned code of the pinned program, so that a later xdplb can load the same program with other maps.

The kernel does not give back what it was asked to load, and the sources of an older xdplb are gone once a newer one is
installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from .instructions import Instructions
from .libbpf import Fd
from .maps import BpfMap, MapType

__all__ = ["ProgramCode"]

_LAYOUT = 1
_HEAD = np.dtype(
    [
        ("layout", "<u4"),
        ("program_id", "<u4"),
        ("text_hash", "<u8"),
        ("code_bytes", "<u4"),
        ("names_bytes", "<u4"),
    ]
)


@dataclass(frozen=True, slots=True)
class ProgramCode:
    """The code of the program with this id: its instructions, by whose numbers `maps` has the names of maps.

    `text_hash` is that of the source alone, whatever it was compiled for.
    """

    program_id: int
    text_hash: int
    code: bytes
    maps: tuple[str, ...]

    @classmethod
    def of(cls, program_id: int, text_hash: int, loaded: Instructions, folder: Path, names: Iterable[str]) -> Self:
        """Return the code of a program that was loaded with maps of these names, which are pinned in `folder`."""
        ids = _ids(folder, names)
        return cls(program_id, text_hash, loaded.code, tuple(ids[number] for number in loaded.map_ids))

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Return what is pinned there, None if nothing is, or if a later xdplb wrote it in another layout."""
        try:
            with BpfMap.open(path) as found:
                value = found.read(0)
        except FileNotFoundError:
            return None
        head = np.frombuffer(value[: _HEAD.itemsize], _HEAD)[0]
        if head["layout"] != _LAYOUT:
            return None
        code = value[_HEAD.itemsize :][: int(head["code_bytes"])]
        names = value[_HEAD.itemsize + len(code) :][: int(head["names_bytes"])]
        return cls(int(head["program_id"]), int(head["text_hash"]), code, tuple(json.loads(names)))

    def pin(self, path: Path) -> None:
        """Pin it there, where nothing may be pinned yet."""
        names = json.dumps(self.maps).encode()
        head = np.array([(_LAYOUT, self.program_id, self.text_hash, len(self.code), len(names))], _HEAD)
        value = head.tobytes() + self.code + names
        with BpfMap.create(MapType.ARRAY, "program_code", value_size=len(value)) as made:
            made.update(0, value)
            made.pin(path)

    def load(self, name: str, maps: Mapping[str, BpfMap]) -> Fd:
        """Load the program with these maps, by name."""
        return Instructions(self.code, ()).load(name, [maps[each] for each in self.maps])


def _ids(folder: Path, names: Iterable[str]) -> dict[int, str]:
    """Return which of these maps are pinned in `folder`, by the kernel's ids."""
    found = {}
    for name in names:
        if (folder / name).exists():
            with BpfMap.open(folder / name) as opened:
                found[opened.info.id] = name
    return found
