# SPDX-License-Identifier: Apache-2.0
"""Probes by the traffic's own way: the programs of bpf/probes.c on each NIC, and where the probes of each backend go.

They have a folder of their own under the pin dir. What is pinned there saves a restart the compiler, and says which
NICs got their clsact qdisc from xdplb: with the programs go only these, and only while nobody else has a filter there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from xdplb.model.address import IPAddress
from xdplb.model.errors import PlatformError

from . import bpffs, libbpf, tc
from .compile import compile_program
from .features import Feature
from .libbpf import Fd
from .map_specs import U32, U64, MapSpec
from .maps import BpfMap, MapType
from .plane import Capacity, ProbeWay
from .platform_errors import kernel_errors_in
from .source import backend_slots, c_string, compile_flags, flatten, source_dir, source_hash
from .tc import Hook

__all__ = ["Probing", "remove_probing", "take_off"]

_FOLDER = "probes"
_FUNCTIONS = {Hook.OUT: "probe_out", Hook.IN: "probe_in"}
_FLOWS = 65536  # PROBE_FLOWS
_MOST_NICS = 1024
_NICS = "probe_nics"
"""The map of the NICs that have the programs, by ifindex: 1 if xdplb has made the clsact qdisc."""
_SOURCE = "probe_source"

_PROBE_WAY = np.dtype([("vip", "V16"), ("source", "V16"), ("version", "<u4"), ("unused", "<u4")])
_PROBE_SOCKET = np.dtype("V32")
_PROBE_ANSWERS = np.dtype("V40")
_PROBE_ANSWER = np.dtype("V64")


def _specs(slots: int) -> tuple[MapSpec, ...]:
    return (
        MapSpec("probe_ways", MapType.HASH, U32, _PROBE_WAY, slots),
        MapSpec("probe_ports", MapType.LRU_HASH, _PROBE_SOCKET, U32, _FLOWS),
        MapSpec("probe_answered", MapType.LRU_HASH, _PROBE_ANSWERS, _PROBE_ANSWER, _FLOWS),
        MapSpec(_NICS, MapType.HASH, U32, U32, _MOST_NICS),
        MapSpec(_SOURCE, MapType.ARRAY, U32, U64, 1),
    )


class Probing:
    """The programs and maps of one data plane, whose maps are `pin_dir`'s. Used by one thread at a time."""

    def __init__(self, pin_dir: Path, cache_dir: Path | None) -> None:
        self._pin_dir, self._cache_dir = pin_dir, cache_dir
        self._folder = pin_dir / _FOLDER
        self._programs: dict[Hook, Fd] = {}
        self._maps: dict[str, BpfMap] = {}
        self._ways: dict[int, ProbeWay] = {}
        self._on: set[int] = set()

    @property
    def is_open(self) -> bool:
        """Whether its programs are there."""
        return bool(self._programs)

    def open(self, backends: BpfMap, capacity: Capacity) -> None:
        """Load the programs for this map of backends, or take up those that are pinned. Probes go nowhere yet.

        Raises PlatformError.
        """
        if self.is_open:
            return
        bpffs.prepare(self._folder)
        text = flatten(source_dir() / "probes.c")
        flags = _flags(self._pin_dir, self._folder, capacity)
        if not self._take_up(source_hash(text, flags), backends):
            _remove_pins(self._folder, but=_NICS)
            self._make(text, flags, capacity)
        self._forget_ways()

    def _take_up(self, source: int, backends: BpfMap) -> bool:
        """Open what is pinned; False if it is not all there, of another source, or for another map of backends."""
        try:
            programs = {hook: libbpf.obj_get(self._folder / name) for hook, name in _FUNCTIONS.items()}
            maps = {spec.name: BpfMap.open(self._folder / spec.name) for spec in _specs(1)}
        except FileNotFoundError:
            return False
        if int.from_bytes(maps[_SOURCE].read(0), "little") != source:
            return False
        if backends.info.id not in libbpf.program_maps(programs[Hook.OUT]):
            return False
        self._programs, self._maps = programs, maps
        return True

    def _make(self, text: str, flags: list[str], capacity: Capacity) -> None:
        maps: dict[str, BpfMap] = {}
        with kernel_errors_in("create the maps of probes"):
            for spec in _specs(backend_slots(capacity)):
                found = spec.open_in(self._folder)
                maps[spec.name] = spec.create() if found is None else found
                if found is None:
                    maps[spec.name].pin(self._folder / spec.name)
        pins = {name: self._folder / name for name in _FUNCTIONS.values()}
        compile_program(text, flags, pins, cache_dir=self._cache_dir, for_tc=True)
        maps[_SOURCE].update(0, source_hash(text, flags))
        self._programs = {hook: libbpf.obj_get(pins[name]) for hook, name in _FUNCTIONS.items()}
        self._maps = maps

    def _forget_ways(self) -> None:
        self._ways = {}
        for key in self._maps["probe_ways"].read_all()[0]:
            self._maps["probe_ways"].delete(key)

    def keep_on(self, ifindexes: Collection[int]) -> list[str]:
        """Make sure that the programs are on these NICs; return the names of those that had lost them.

        Raises PlatformError if the kernel refuses one, after all have been tried.
        """
        lost: list[str] = []
        refused: list[tuple[str, str]] = []
        for ifindex in ifindexes:
            try:
                name = socket.if_indextoname(ifindex)
            except OSError:  # it has gone just now
                continue
            try:
                if self._put_on(ifindex) and ifindex in self._on:
                    lost.append(name)
                self._on.add(ifindex)
            except OSError as error:
                refused.append((name, error.strerror or repr(error)))
        self._on.intersection_update(ifindexes)
        if refused:
            name, why = refused[0]
            raise PlatformError(f"the kernel refuses a tc program on {name}: {why}", hint=_remedy(name))
        return lost

    def _put_on(self, ifindex: int) -> bool:
        """Put the programs on this NIC in front of what others have there; return whether they were not there."""
        found = tc.filters(ifindex)
        ours = [each for each in found if each.is_ours]
        wanted = [(hook, libbpf.program_info(program).id) for hook, program in self._programs.items()]
        is_there = {(each.hook, each.program_id) for each in ours} == set(wanted)
        if is_there and len(ours) == len(wanted) and all(tc.is_first(each, found) for each in ours):
            return False
        made, nics = tc.make_qdisc(ifindex), self._maps[_NICS]
        if made or nics.lookup(ifindex) is None:
            nics.update(ifindex, int(made))
        for hook, program in self._programs.items():
            tc.attach(program, ifindex, hook)
        return not is_there

    def write(self, ways: Mapping[int, ProbeWay | None]) -> None:
        """Set where the probes of these backends go, by id; None: nowhere."""
        held = self._maps["probe_ways"]
        for number, way in ways.items():
            if way is None:
                held.delete(number)
                self._ways.pop(number, None)
            elif self._ways.get(number) != way:
                held.update(number, _encode(way))
                self._ways[number] = way

    def repair(self) -> list[str]:
        """Pin again what somebody has removed; return its names."""
        kept = {_FUNCTIONS[hook]: program for hook, program in self._programs.items()}
        kept |= {name: found.fd for name, found in self._maps.items()}
        with suppress(FileNotFoundError):
            there = {entry.name for entry in os.scandir(self._folder)}
            kept = {name: fd for name, fd in kept.items() if name not in there}
        if kept:
            bpffs.prepare(self._folder)
        for name, fd in kept.items():
            libbpf.obj_pin(fd, self._folder / name)
        return list(kept)

    def close(self) -> None:
        """Take the programs off all NICs, and remove what is pinned, also what a daemon before has left."""
        self._programs, self._maps, self._ways, self._on = {}, {}, {}, set()
        remove_probing(self._pin_dir)


def remove_probing(pin_dir: Path) -> None:
    """Take the programs off all NICs and remove what is pinned; no error if there is nothing."""
    folder = pin_dir / _FOLDER
    if not folder.is_dir():
        return
    with suppress(FileNotFoundError), BpfMap.open(folder / _NICS) as nics:
        take_off(pin_dir, [int.from_bytes(key.tobytes(), "little") for key in nics.read_all()[0]])
    _remove_pins(folder)
    bpffs.remove_directory(folder)


def take_off(pin_dir: Path, ifindexes: Collection[int]) -> None:
    """Take the programs off these NICs; and the clsact qdisc, if xdplb has made it and nobody else has a filter there.

    They are found without the pins, too. Which qdiscs are xdplb's is then not known, and they stay.
    """
    for ifindex in ifindexes:
        with suppress(FileNotFoundError):  # somebody else removes it at this moment
            tc.detach(ifindex)
    with suppress(FileNotFoundError), BpfMap.open(pin_dir / _FOLDER / _NICS) as nics:
        for ifindex in ifindexes:
            made = nics.lookup(ifindex)
            nics.delete(ifindex)
            if made is not None and any(made) and not tc.filters(ifindex):
                with suppress(OSError):  # it is gone, or the NIC
                    tc.remove_qdisc(ifindex)


def _remove_pins(folder: Path, but: str = "") -> None:
    for entry in list(os.scandir(folder)):
        if entry.name != but:
            Path(entry).unlink()


def _flags(pin_dir: Path, folder: Path, capacity: Capacity) -> list[str]:
    # What is not among the maps of probes takes no room.
    unused = dict.fromkeys(("VIP_GROUPS", "VIP_GROUPS6", "NAT_GROUPS", "MAX_FLOWS"), "1")
    room = {"MAX_BACKENDS": str(backend_slots(capacity)), **unused}
    return compile_flags(folder, None, (Feature.OUTER_IPV6, Feature.GUE), BACKENDS_DIR=c_string(pin_dir), **room)


def _encode(way: ProbeWay) -> bytes:
    value = np.zeros(1, _PROBE_WAY)
    value["vip"], value["version"] = _words(way.vip), way.vip.version
    if way.source is not None:
        value["source"] = _words(way.source)
    return value.tobytes()


def _words(address: IPAddress) -> bytes:
    return address.packed.ljust(16, b"\0")


def _remedy(nic: str) -> str:
    return (
        f"`tc qdisc show dev {nic}` shows what is there: an `ingress` qdisc leaves no room for clsact; or check"
        ' backends at their own addresses, with target = "backend"'
    )
