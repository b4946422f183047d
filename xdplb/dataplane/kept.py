# SPDX-License-Identifier: Apache-2.0
"""What a running daemon keeps open of its pin dir, and pins again if somebody removes it there.

As long as a link's descriptor is open, the program stays on the NIC, whatever becomes of the pins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from . import bpffs, libbpf
from .libbpf import Fd
from .links import pinned_links
from .map_specs import MAP_NAMES
from .pinned_maps import Maps
from .pins import CODE, INSTANCE, META, PROGRAM, link_name

__all__ = ["Kept"]

_TURNS_TO_A_LOOK = 20
"""A look at all pins takes a tenth of a millisecond, and `repair` is called twice a second."""


class Kept:
    """Descriptors of the maps, the program and the links. Used by one thread at a time."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._program: Fd | None = None
        self._code: Fd | None = None
        self._links: dict[int, tuple[str, Fd]] = {}
        self._turn = 0
        self.program_id = 0
        """The kernel's id of the program, 0 while there is none."""

    def program(self, program: Fd) -> None:
        """Keep this program, which is pinned with its code, in the place of the last one."""
        self._program, self._code = Fd(os.dup(program.fileno())), None
        with suppress(FileNotFoundError):  # an older xdplb has pinned none
            self._code = libbpf.obj_get(self._maps.pin_dir / CODE)
        self.program_id = libbpf.program_info(self._program).id

    def link(self, pin: Path, ifindex: int) -> None:
        """Keep the link pinned there, which has the program on the NIC `ifindex`."""
        self._links[ifindex] = (pin.name, libbpf.obj_get(pin))

    def nics(self) -> set[int]:
        """Return the ifindexes of the NICs that have the program by a link kept here, pinned or not."""
        return {index for index, (_, link) in self._links.items() if _is_alive(link)}

    def take_back(self, ifindex: int) -> None:
        """Put the program into the link of this NIC again, in the place of another one; packets see one of the two."""
        kept = self._links.get(ifindex)
        if kept is not None and self._program is not None:
            libbpf.link_update(kept[1], self._program)

    def repair(self) -> list[str]:
        """Pin again what is missing; return its names. OSError or PlatformError if the folder takes no pins.

        Every now and then pins are also opened, to see that they are not of something else.
        """
        folder = self._maps.pin_dir
        self._turn += 1
        if self._turn % _TURNS_TO_A_LOOK == 0:
            self._remove_foreign(folder)
        try:
            there = {path.name for path in folder.iterdir()}
        except FileNotFoundError:
            bpffs.prepare(folder)
            there = set()
        missing = {name: fd for name, fd in self._pins() if name not in there}
        missing |= self._missing_links(there)
        # The order in which a start makes them: `meta` says that all maps are there, a link that they are in use.
        order = [*MAP_NAMES, INSTANCE, META, CODE, PROGRAM]
        for name in sorted(missing, key=lambda name: order.index(name) if name in order else len(order)):
            libbpf.obj_pin(missing[name], folder / name)
        return list(missing)

    def _remove_foreign(self, folder: Path) -> None:
        """Remove pins that have the name of one of ours and are of another object."""
        for name, fd in self._pins():
            with suppress(FileNotFoundError), libbpf.obj_get(folder / name) as found:
                if libbpf.object_id(found) != libbpf.object_id(fd):
                    (folder / name).unlink()

    def _pins(self) -> Iterator[tuple[str, Fd]]:
        for name in MAP_NAMES:
            found = getattr(self._maps, name)
            if found is not None:
                yield name, found.fd
        yield INSTANCE, self._maps.instance.fd
        yield META, self._maps.meta.fd
        if self._program is not None:
            yield PROGRAM, self._program
        if self._code is not None:
            yield CODE, self._code

    def _missing_links(self, there: set[str]) -> dict[str, Fd]:
        """Return the links that are not pinned any more, by the names of their pins."""
        if all(name in there for name, _ in self._links.values()):
            return {}
        self._links = {index: kept for index, kept in self._links.items() if _is_alive(kept[1])}
        pinned = {link.ifindex for link in pinned_links(self._maps.pin_dir)}  # a pin may have been renamed with its NIC
        found: dict[str, Fd] = {}
        for index, (name, fd) in self._links.items():
            if index not in pinned:
                found[name if name not in {*there, *found} else link_name(f"index{index}")] = fd
        return found


def _is_alive(link: Fd) -> bool:
    """Return whether a link still has the program on a NIC."""
    return libbpf.link_info(link).ifindex != 0
