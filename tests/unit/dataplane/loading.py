# SPDX-License-Identifier: Apache-2.0
"""Loading on the private host of a test, and looking at what is there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from xdplb.dataplane import libbpf, programs
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.features import Features
from xdplb.dataplane.loader import LoadOptions, load
from xdplb.dataplane.plane import Capacity, VipEntry
from xdplb.dataplane.source import flatten
from xdplb.dataplane.swap_guard import SwapGuard
from xdplb.model.decap import NO_DECAP, Decap
from xdplb.model.vip import VipKey

__all__ = [
    "CAPACITY",
    "VIP",
    "change_source",
    "forbid_compiling",
    "in_child",
    "is_gone",
    "left",
    "program_on",
    "up",
]

CAPACITY = Capacity(vips=16, backends=64, flows=4096)
VIP = VipEntry(3, VipKey.parse("203.0.113.10:443/tcp"), track_always=False, idle_seconds=60)


def up(
    pin_dir: Path,
    *interfaces: str,
    mode: str = "auto",
    capacity: Capacity | None = CAPACITY,
    features: Features = frozenset(),
    guard: SwapGuard | None = None,
    decap: Decap = NO_DECAP,
) -> BccPlane:
    """Load with all of this capacity given, or with none of it."""
    given = asdict(capacity) if capacity else {}
    return load(
        LoadOptions(
            interfaces or ("eth0",),
            mode=mode,
            pin_dir=pin_dir,
            capacity=given,
            features=features,
            guard=guard,
            decap=decap,
        )
    )


def left(bpffs: Path) -> list[str]:
    """Return what is pinned, without the two files that every bpffs has."""
    return sorted(path.name for path in bpffs.rglob("*") if path.suffix != ".debug")


def program_on(nic: str) -> int:
    """Return the id of the program on a NIC, 0 where there is none."""
    return libbpf.xdp_program_id(socket.if_nametoindex(nic))


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_program(*_: object, **__: object) -> None:
        pytest.fail("it compiled")

    monkeypatch.setattr(programs, "compile_program", compile_program)


def change_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "flatten", lambda main: flatten(main) + "\n/* newer */\n")


def in_child(function: Callable[[], int]) -> int:
    """Run `function` in a forked process and return its exit status."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = function()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_gone(open_it: Callable[[], object]) -> bool:
    """Whether the object is freed within 5 seconds: the kernel waits for its readers first."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            open_it()
        except OSError:
            return True
        time.sleep(0.05)
    return False
