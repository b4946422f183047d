# SPDX-License-Identifier: Apache-2.0
"""Katran's XDP program, compiled from a checkout of its sources, for the benches that measure it beside ours.

Nothing of Katran is part of xdplb: clang compiles it as Katran's own build does, with no optional feature, and libbpf
loads it. Two things are otherwise than there. Its limit of 125,000 new connections a second is lifted: the bench opens
more, and those beyond the limit would not be recorded. And its table has as much room as ours, so that lookups are
measured, and not evictions.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path
from socket import IPPROTO_TCP, IPPROTO_UDP

import numpy as np

from tests.bench.planes import CAPACITY
from tests.bench.services import BACKENDS
from tests.bench.traffic import VIPS
from xdplb.dataplane.libbpf import Fd, call, library
from xdplb.dataplane.maps import BpfMap, MapType

__all__ = ["load_katran"]

SOURCES = ("balancer.bpf.c", "balancer_kern.c")
"""The names that the program had, the newer one first; both are in katran/lib/bpf."""
COMPILERS = ("clang", "clang-14", "clang-16", "clang-19")
PROGRAM = "balancer_ingress"

VIP = np.dtype([("address", "V16"), ("port", ">u2"), ("protocol", "u1"), ("padding", "u1")])
VIP_META = np.dtype([("flags", "<u4"), ("number", "<u4")])
REAL = np.dtype([("address", "V16"), ("flags", "u1"), ("padding", "V3")])
RECORD_KEY, RECORD = 40, 16  # bytes
RING = 65537
GATEWAY_MAC = b"\x02\0\0\0\0\x02"
FIRST_BACKEND = IPv4Address("10.1.0.1")


def load_katran(checkout: Path, ports: Collection[int], cpu: int) -> Fd:
    """Return the program with a VIP of a hundred backends at each of these ports, for packets on this CPU."""
    loaded = _load(_compiled(checkout))
    maps = {name: _map(loaded, name) for name in ("vip_map", "ch_rings", "reals", "ctl_array", "lru_mapping")}
    for number, port in enumerate(ports):
        for protocol in (IPPROTO_TCP, IPPROTO_UDP):
            key = np.zeros(1, VIP)
            key["address"], key["port"], key["protocol"] = IPv4Address(VIPS[4]).packed.ljust(16, b"\0"), port, protocol
            maps["vip_map"].update(key.tobytes(), np.array([(0, number)], VIP_META).tobytes())
        slots = np.arange(RING, dtype=np.uint32)
        maps["ch_rings"].update_batch((number * RING + slots).astype("<u4"), (slots % BACKENDS + 1).astype("<u4"))
    for backend in range(1, BACKENDS + 1):
        real = np.zeros(1, REAL)
        real["address"] = (FIRST_BACKEND + backend).packed.ljust(16, b"\0")
        maps["reals"].update(backend, real.tobytes())
    maps["ctl_array"].update(0, GATEWAY_MAC.ljust(8, b"\0"))
    records = BpfMap.create(
        MapType.LRU_HASH, "katran_records", key_size=RECORD_KEY, value_size=RECORD, max_entries=CAPACITY.flows
    )
    maps["lru_mapping"].update(cpu, records.fd)
    return _descriptor("bpf_program__fd", _found(loaded, "bpf_object__find_program_by_name", PROGRAM))


def _compiled(checkout: Path) -> bytes:
    folder = checkout / "katran/lib/bpf"
    source = next((folder / name for name in SOURCES if (folder / name).exists()), None)
    if source is None:
        raise SystemExit(f"scripts/bench: {checkout} is no checkout of Katran: {folder} has no {' or '.join(SOURCES)}")
    clang = next(filter(None, map(shutil.which, COMPILERS)), None)
    if clang is None:
        raise SystemExit(
            "scripts/bench: to compile Katran's program, clang is needed; apt-get install clang libbpf-dev"
        )
    includes = [checkout, checkout / "katran/lib/linux_includes", folder, f"/usr/include/{_multiarch()}"]
    command = [clang, "-O2", "-g", "-target", "bpf", "-w", "-D__KERNEL__", "-D__x86_64__", "-DMAX_CONN_RATE=0xffffffff"]
    command += [f"-I{path}" for path in includes]
    compiled = subprocess.run([*command, "-c", source, "-o", "-"], capture_output=True, check=False)
    if compiled.returncode:
        raise SystemExit(f"scripts/bench: Katran's program does not compile:\n{compiled.stderr.decode()}")
    return compiled.stdout


def _multiarch() -> str:
    return str(sysconfig.get_config_var("MULTIARCH"))


def _load(elf: bytes) -> ctypes.c_void_p:
    """Return the loaded object; it lives as long as the process, and so do its maps."""
    opened = library().bpf_object__open_mem
    opened.restype = ctypes.c_void_p
    loaded = ctypes.c_void_p(opened(elf, ctypes.c_size_t(len(elf)), None))
    if not loaded:
        raise SystemExit("scripts/bench: libbpf cannot read Katran's program; its maps must be of 2022 or newer")
    # As bcc loads ours: a program array takes only programs that agree in this.
    call("bpf_program__set_expected_attach_type", _found(loaded, "bpf_object__find_program_by_name", PROGRAM), 0)
    call("bpf_object__load", loaded)
    return loaded


def _map(loaded: ctypes.c_void_p, name: str) -> BpfMap:
    return BpfMap(_descriptor("bpf_map__fd", _found(loaded, "bpf_object__find_map_by_name", name)))


def _found(loaded: ctypes.c_void_p, how: str, name: str) -> ctypes.c_void_p:
    find = getattr(library(), how)
    find.restype = ctypes.c_void_p
    found = ctypes.c_void_p(find(loaded, name.encode()))
    if not found:
        raise SystemExit(f"scripts/bench: Katran's program has no {name}")
    return found


def _descriptor(how: str, found: ctypes.c_void_p) -> Fd:
    return Fd(os.dup(call(how, found)))
