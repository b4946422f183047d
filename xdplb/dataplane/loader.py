# SPDX-License-Identifier: Apache-2.0
"""Loads the data plane into the kernel, takes over one that runs, and removes it.

Order matters, since a process can die between any two steps: maps, then `meta` (says that all maps exist), then the
program, then the links. Each step can be repeated over what a dead process left. Maps without `meta` or without a link
carry no traffic and are created again. Maps of another layout or size are replaced: see takeover.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from xdplb.model.decap import NO_DECAP, Decap
from xdplb.model.errors import InvalidError, NotFoundError

from . import bpffs
from .bcc_plane import PROGRAM_NAME, BccPlane
from .capacity import MAX_BACKEND_ID
from .features import Feature, Features
from .links import MODES, find_nic, pinned_links, take_down
from .map_specs import MAP_NAMES, TX_PORTS, map_layouts, map_specs
from .maps import BpfMap
from .pinned_maps import Maps, make_map
from .pins import META, Meta
from .plane import Capacity
from .platform_errors import kernel_errors, kernel_errors_in
from .probing import remove_probing, take_off
from .programs import remove_if_unused, remove_pins
from .single import decap_down, decap_up, pass_program
from .source import compile_flags
from .swap_guard import SwapGuard
from .swap_watch import settle
from .takeover import Wanted, finish_or_discard, take_over

__all__ = ["LoadOptions", "decap_down", "decap_up", "load", "pass_program", "unload"]

MAX_VIPS = 8192
MAX_BACKENDS = MAX_BACKEND_ID
MAX_FLOWS = 1 << 30
MOST = {"vips": MAX_VIPS, "backends": MAX_BACKENDS, "flows": MAX_FLOWS}
"""The most there can be. A map's value must fit one kmalloc of 4 MB (KMALLOC_MAX_SIZE, which 5.15 asks of arrays): the
index of 8192 IPv4 VIPs takes 2 MB (32768 groups of 4 entries of 16 bytes), that of IPv6 no more (16384 groups of 4 of
32 bytes), a VIP's table 256 KB, the access lists 3.4 MB (IPv4) and 2.4 MB (IPv6). The entries in an index are one for
each VIP and protocol, and one for each address: 8192 IPv4 VIPs of one protocol always find room, of IPv6 about 10000
entries do.
"""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to attach where. `mode` is native, skb or auto.

    `capacity` has the fields of Capacity that are given: the others stay as they are pinned, else have their defaults.
    `features` are what the state needs; `cache_dir` is where merged kernel headers are kept. `guard` looks at a program
    of another source before and after it is swapped in. `decap` says which tunnels end here.
    """

    interfaces: tuple[str, ...]
    mode: str = "auto"
    pin_dir: Path = Path("/sys/fs/bpf/xdplb")
    capacity: Mapping[str, int] = field(default_factory=dict)
    cache_dir: Path | None = None
    features: Features = frozenset()
    guard: SwapGuard | None = None
    decap: Decap = NO_DECAP

    @property
    def all_features(self) -> Features:
        """What the program must be compiled for."""
        return self.features | (frozenset({Feature.DECAP}) if self.decap.at else frozenset())


def load(options: LoadOptions) -> BccPlane:
    """Return the data plane on these NICs: taken over if it is pinned, else created.

    NICs that do not exist are left out, for the daemon to attach when they are made, as long as one of them exists or
    was attached before.

    It is compiled only if the program pinned is of another source or for other features than the options and what is in
    the maps need; then the program is swapped under the traffic.
    Errors: NotFoundError (none of the NICs exists), ConflictError (maps that cannot be carried over, another program on
    the NIC, a program that the guard refuses), CapacityError (less room than is in use), PlatformError (what this host
    or kernel refuses).
    After an error nothing is attached that was not attached before.
    """
    _check(options)
    present = _present(options)
    bpffs.prepare(options.pin_dir)
    with ExitStack() as undo:
        undo.callback(remove_if_unused, options.pin_dir, MAP_NAMES)
        with kernel_errors_in("create or take over the maps"):
            maps, worse = _maps(options)
        with kernel_errors_in("read the maps"):
            plane = BccPlane(maps, options.cache_dir, options.guard, rolled_back=worse)
        # Whether frames come in tagged is not known yet: a program that can read tags keeps doing so.
        plane.compile_for(options.all_features | (plane.features & {Feature.VLAN})).close()
        plane.write_decap(options.decap)
        with kernel_errors_in("attach the program"):
            for name in present:
                made = plane.nics.attach(name, options.mode)
                if made is not None:
                    undo.callback(_give_up, options.pin_dir, [name])
        undo.pop_all()
    plane.nics.loaded = True
    return plane


def _present(options: LoadOptions) -> list[str]:
    """Return the names of the NICs that exist; NotFoundError if none does, and none is known from before.

    A NIC may be made later than the daemon starts, or just be gone; but a name that was never seen is a mistake.
    """
    present, errors = [], []
    for name in options.interfaces:
        try:
            present.append(find_nic(name).name)
        except NotFoundError as error:
            errors.append(error)
    if not present and not {link.nic for link in pinned_links(options.pin_dir)} & set(options.interfaces):
        raise errors[0]
    return present


def _check(options: LoadOptions) -> None:
    if options.mode not in MODES:
        raise InvalidError.field("/mode", f"{options.mode!r} is not a mode", hint=f"use one of {', '.join(MODES)}")
    if not 1 <= len(options.interfaces) <= TX_PORTS:
        raise InvalidError.field(
            "/interfaces", f"{len(options.interfaces)} NICs were given", hint=f"give 1 to {TX_PORTS}"
        )
    for name, value in options.capacity.items():
        if not 1 <= value <= MOST[name]:
            raise InvalidError.field(f"/max_{name}", f"--max-{name} is {value}", hint=f"give 1 to {MOST[name]}")


def _maps(options: LoadOptions) -> tuple[Maps, str | None]:
    """Return the maps, and why the program of a start before was rolled back now, if it was."""
    if (options.pin_dir / META).exists() and pinned_links(options.pin_dir):
        finish_or_discard(options.pin_dir, PROGRAM_NAME)
        worse = settle(options.pin_dir, options.guard)
        take_over(_wanted(options))
        return Maps.adopt(options.pin_dir), worse
    remove_pins(options.pin_dir, MAP_NAMES)
    return Maps.create(options.pin_dir, Capacity(**options.capacity), options.all_features), None


def _wanted(options: LoadOptions) -> Wanted:
    """Return what the maps are to be: of the sizes that are given, and else of the sizes that they have."""
    meta = Meta.open(options.pin_dir)
    capacity = replace(meta.capacity, **options.capacity)
    features = options.all_features | (meta.features - {Feature.CAPTURE})
    return Wanted(
        options.pin_dir,
        PROGRAM_NAME,
        capacity,
        features,
        map_specs(capacity, features),
        map_layouts(capacity),
        flags=lambda folder: compile_flags(folder, capacity, features),
        make=make_map,
        cache_dir=options.cache_dir,
        guard=options.guard,
    )


@kernel_errors("remove what is pinned")
def unload(pin_dir: Path, interfaces: Collection[str] | None = None) -> list[str]:
    """Detach from these NICs, None for all; with the last one remove everything. Return what was removed.

    Needs no daemon. It is no error if a NIC or a pin is gone already.
    """
    bpffs.require(pin_dir)
    return _give_up(pin_dir, interfaces) + remove_if_unused(pin_dir, MAP_NAMES)


def _give_up(pin_dir: Path, interfaces: Collection[str] | None) -> list[str]:
    """Detach from these NICs and redirect nothing to them; return what was removed."""
    before = {link.ifindex for link in pinned_links(pin_dir)}
    removed = take_down(pin_dir, interfaces)
    left = {link.ifindex for link in pinned_links(pin_dir)}
    _close_ports(pin_dir, before - left)
    take_off(pin_dir, before - left)
    if not left:
        remove_probing(pin_dir)
    return removed


def _close_ports(pin_dir: Path, ifindexes: Collection[int]) -> None:
    """Redirect no more frames to NICs that were detached, and make room for others."""
    if ifindexes and (pin_dir / "tx_ports").exists():
        with BpfMap.open(pin_dir / "tx_ports") as ports:
            for ifindex in ifindexes:
                ports.delete(ifindex)
