# SPDX-License-Identifier: Apache-2.0
"""Programs beside the balancer: `decap` on backends, and one that passes everything, for the far ends of veths.

`decap` has a folder of its own under the pin dir, with its program, its maps, a link for each NIC, and `meta`, which
says what the program was compiled from.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from xdplb.model.address import IPAddress
from xdplb.model.errors import CapacityError

from . import bpffs
from .libbpf import XDP_PASS, Fd, load_xdp
from .links import attach_or_keep, attachments, find_nic, pinned_links, take_down
from .map_specs import U32, U64, MapSpec
from .maps import BpfMap, MapType
from .pins import DECAP, META, Meta
from .plane import Attachment, Capacity
from .platform_errors import kernel_errors, kernel_errors_in
from .programs import current_program, remove_if_unused, remove_pins
from .reasons import DECAP_REASONS
from .source import compile_flags
from .takeover import Wanted, finish_or_discard, take_over
from .tunnel_sources import wide_address

__all__ = ["decap_counters", "decap_down", "decap_up", "pass_program"]

MOST_ADDRESSES = 64
ADDRESSES = MapSpec("decap_addresses", MapType.HASH, np.dtype(("<u8", (2,))), U32, MOST_ADDRESSES)
STATS = MapSpec("decap_stats", MapType.PERCPU_ARRAY, U32, U64, 16)
DECAP_SPECS = (ADDRESSES, STATS)
DECAP_MAPS = (ADDRESSES.name, STATS.name)
NO_ROOM = Capacity(0, 0, 0)

PASS_ALL = struct.pack("<BBhiBBhi", 0xB7, 0, 0, XDP_PASS, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit


def decap_up(
    interface: str,
    pin_dir: Path,
    addresses: Collection[IPAddress],
    *,
    mode: str = "auto",
    cache_dir: Path | None = None,
) -> Attachment:
    """Unwrap IPIP and GUE that come to one of `addresses` (at most 64) on this NIC; return how it is attached.

    A second call with other addresses changes them, for all NICs of this pin dir. Errors are those of `loader.load`.
    """
    if len(addresses) > MOST_ADDRESSES:
        raise CapacityError(
            f"too many addresses for decap: {len(addresses)}, the limit is {MOST_ADDRESSES}",
            hint="give only those that the balancer sends to, with --address",
        )
    nic = find_nic(interface)
    folder = pin_dir / DECAP
    bpffs.prepare(folder)
    with ExitStack() as undo:
        undo.callback(remove_if_unused, folder, DECAP_MAPS)
        with kernel_errors_in("create the maps"):
            meta = _meta(folder, cache_dir)
        with kernel_errors_in("replace the program"):
            program = current_program(folder, meta, DECAP, compile_flags(folder), cache_dir)
        with kernel_errors_in("attach the program"):
            _set_addresses(BpfMap.open(folder / ADDRESSES.name), addresses)
            done = attach_or_keep(program, nic, mode, folder)
            found = next(found for found in attachments(folder) if found.ifindex == nic.ifindex)
            attachment = replace(found, note=done.note)
        undo.pop_all()
    return attachment


def _meta(folder: Path, cache_dir: Path | None) -> Meta:
    layouts = {spec.name: spec.layout for spec in DECAP_SPECS}
    if (folder / META).exists() and pinned_links(folder):
        finish_or_discard(folder, DECAP)
        take_over(Wanted(folder, DECAP, NO_ROOM, frozenset(), DECAP_SPECS, layouts, compile_flags, cache_dir=cache_dir))
        return Meta.open(folder)
    remove_pins(folder, DECAP_MAPS)
    for spec in DECAP_SPECS:
        spec.create().pin(folder / spec.name)
    return Meta.create(folder, NO_ROOM, frozenset(), layouts)


def _set_addresses(found: BpfMap, addresses: Collection[IPAddress]) -> None:
    wanted = {wide_address(address) for address in addresses}
    for address in wanted:
        found.update(address, 1)
    for key in found.read_all()[0]:
        if key.tobytes() not in wanted:
            found.delete(key)


@kernel_errors("remove what is pinned")
def decap_down(interface: str | None, pin_dir: Path) -> list[str]:
    """Stop unwrapping on this NIC, None for all; return what was removed, nothing if it is gone already."""
    folder = pin_dir / DECAP
    bpffs.require(folder)
    removed = take_down(folder, None if interface is None else [interface]) + remove_if_unused(folder, DECAP_MAPS)
    bpffs.remove_directory(pin_dir)
    return removed


@kernel_errors("read the counters")
def decap_counters(pin_dir: Path) -> dict[str, int]:
    """Return how many frames were unwrapped, passed and dropped, by reason; empty where decap is not up."""
    pin = pin_dir / DECAP / STATS.name
    if not pin.exists():
        return {}
    with BpfMap.open(pin) as stats:
        values = {reason.name: stats.read(reason.number) for reason in DECAP_REASONS}
    return {name: sum(struct.unpack(f"={len(value) // 8}Q", value)) for name, value in values.items()}


@kernel_errors("load a program")
def pass_program() -> Fd:
    """Load a program that passes every frame; a veth takes what XDP sends to it only with one on its other end."""
    return load_xdp("pass", PASS_ALL)
