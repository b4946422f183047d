# SPDX-License-Identifier: Apache-2.0
"""The NICs of a data plane: puts the pinned program on them, also again, and lets frames be redirected to them."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from xdplb.model.errors import CapacityError, NotFoundError, PlatformError

from . import layout, libbpf
from .kept import Kept
from .libbpf import Fd
from .links import Nic, attach_or_keep, attachments, find_nic, take_down, why_missing
from .map_specs import TX_PORTS
from .maps import BpfMap, MapType
from .pinned_maps import Maps
from .pins import PROGRAM, link_name
from .plane import Attachment

__all__ = ["Nics"]

_MOST_SLOTS = 64
"""How many slots of an array of programs are looked at."""


class Nics:
    """The NICs of the maps' pin dir. Once `loaded`, the links there are known to be of this network namespace."""

    def __init__(self, maps: Maps, kept: Kept) -> None:
        self._maps = maps
        self._kept = kept
        self._notes: dict[int, str] = {}
        self._ports: set[int] = set()
        """The NICs that frames were let be redirected to here."""
        self.swapping = Lock()
        """Held while the pinned program and that of the links are replaced."""
        self.loaded = False

    def attached(self) -> Sequence[Attachment]:
        """Return the NICs that have a link of this pin dir now."""
        found = attachments(self._maps.pin_dir)
        return [replace(one, note=self._notes.get(one.ifindex, "")) if one.mode == "skb" else one for one in found]

    def attached_or_replaced(self) -> Sequence[Attachment]:
        """Return the same, and which of them have another program in the link; not while programs are swapped."""
        return [replace(one, other=self._other_in(one)) for one in self.attached()]

    def _other_in(self, one: Attachment) -> str:
        if one.program_id == self._kept.program_id:
            return ""
        try:
            with libbpf.program_by_id(one.program_id) as program:
                if _calls(program, self._kept.program_id):
                    return ""
                return f"{libbpf.program_info(program).name!r} (id {one.program_id})"
        except FileNotFoundError:  # it was replaced just now
            return ""

    def places(self) -> dict[str, int]:
        """Return where the frames of each NIC are counted, by name; without those that share a place."""
        places = {one.interface: one.ifindex % layout.NIC_PLACES for one in self.attached()}
        sharing = Counter(places.values())
        return {name: place for name, place in places.items() if sharing[place] == 1}

    def take_back(self, name: str) -> None:
        """Put the program into the link of this NIC again, in the place of another one."""
        with self.swapping:
            self._kept.take_back(self._find(name).ifindex)

    def attach(self, name: str, mode: str) -> Path | None:
        """Make sure that the pinned program is on this NIC; return the pin of a link that was made, else None.

        Raises NotFoundError, ConflictError, CapacityError, PlatformError.
        """
        nic = self._find(name)
        if not (self._maps.pin_dir / PROGRAM).exists():
            raise PlatformError(
                f"the pins in {self._maps.pin_dir} were removed, and the program with them",
                hint="restart the daemon, which makes them again",
            )
        if nic.ifindex not in {one.ifindex for one in self.attached()}:
            self._count_anew(nic)
        with self.swapping, libbpf.obj_get(self._maps.pin_dir / PROGRAM) as program:
            done = attach_or_keep(program, nic, mode, self._maps.pin_dir, reclaim=self.loaded)
            self._kept.link(self._maps.pin_dir / link_name(nic.name), nic.ifindex)
        with ExitStack() as undo:
            if done.made is not None:
                undo.callback(take_down, self._maps.pin_dir, [nic.name])
            self._redirect_to(nic)
            undo.pop_all()
        if done.made is not None or nic.ifindex not in self._notes:
            self._notes[nic.ifindex] = done.note
        return done.made

    def restore_ports(self) -> bool:
        """Let frames be redirected to exactly the NICs that the program is on; return whether others changed that.

        A NIC that has lost the program is left until now: it may have it again at once.
        """
        ports = self._maps.tx_ports
        wanted = {index: index for index in self._kept.nics().union(one.ifindex for one in self.attached())}
        found = {_number(key): _number(value) for key, value in ports.items()}
        for ifindex in self._ports - wanted.keys():
            self._ports.discard(ifindex)
            if found.pop(ifindex, None) is not None:
                ports.delete(ifindex)
        if found == wanted:
            return False
        for ifindex in found.keys() - wanted.keys():
            ports.delete(ifindex)
        for ifindex, port in wanted.items() - found.items():
            ports.update(ifindex, port)
        return True

    def _find(self, name: str) -> Nic:
        try:
            return find_nic(name)
        except NotFoundError as error:
            raise NotFoundError(why_missing(self._maps.pin_dir, name), hint=error.hint) from None

    def _count_anew(self, nic: Nic) -> None:
        """Start the counters of a NIC at zero. One that is gone may have been counted in the same place."""
        counters = self._maps.nic_stats
        if counters is not None:
            counters.update(nic.ifindex % layout.NIC_PLACES, np.zeros(counters.value_bytes, np.uint8))

    def _redirect_to(self, nic: Nic) -> None:
        """Let frames be redirected to the NIC. The kernel forgets that when the NIC goes."""
        try:
            self._maps.tx_ports.update(nic.ifindex, nic.ifindex)
            self._ports.add(nic.ifindex)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            raise CapacityError(
                f"{nic.name} cannot be attached: {TX_PORTS} NICs have been attached here, the limit of a data plane",
                hint="`xdplb down --all`, then `xdplb up` with the NICs that are needed",
            ) from error


def _calls(program: Fd, ours: int) -> bool:
    """Return whether a program has ours in an array of programs: it is one that somebody has put in front of ours."""
    for map_id in libbpf.program_maps(program):
        with BpfMap.by_id(map_id) as found:
            if found.info.type != MapType.PROG_ARRAY:
                continue
            slots = range(min(found.info.max_entries, _MOST_SLOTS))
            if any((value := found.lookup(slot)) is not None and _number(value) == ours for slot in slots):
                return True
    return False


def _number(raw: bytes) -> int:
    return int.from_bytes(raw[:4], "little")
