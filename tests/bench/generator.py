# SPDX-License-Identifier: Apache-2.0
"""Sends real frames: BPF_PROG_TEST_RUN runs generator.c, whose redirects are sent. Kernel 5.18 or newer."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.bench.frames import PATTERN, PATTERNS, pattern
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.libbpf import call, obj_get, possible_cpus
from xdplb.dataplane.maps import BpfMap, MapType
from xdplb.dataplane.source import flatten

__all__ = ["Generator", "Sent"]

BPF_F_TEST_XDP_LIVE_FRAMES = 1 << 1
BATCH = 64
GENERATOR = np.dtype(
    [
        ("turn", "<u8"),
        ("turns", "<u8"),
        ("start", "<u8"),
        ("end", "<u8"),
        ("random", "<u8"),
        ("flows", "<u4"),
        ("next", "<u4"),
        ("frames", PATTERN, PATTERNS),
    ],
    align=True,
)
PROGRAMS = ("generate", "count", "swap_back", "swap_onward")


class _LiveRun(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


@dataclass(frozen=True, slots=True)
class Sent:
    """How many frames a CPU has sent, and the time from making the first one to making the last one."""

    frames: int
    seconds: float


class Generator:
    """The loaded programs; fill `wire` and `onward`, each in the namespace of its NIC."""

    def __init__(self, pin_dir: Path) -> None:
        self._state = BpfMap.create(MapType.PERCPU_ARRAY, "generators", value_size=GENERATOR.itemsize)
        self._arrived = BpfMap.create(MapType.PERCPU_ARRAY, "arrived", value_size=8)
        self.wire, self.onward = (BpfMap.create(MapType.DEVMAP_HASH, name) for name in ("wire", "onward"))
        for name, made in (
            ("generators", self._state),
            ("arrived", self._arrived),
            ("wire", self.wire),
            ("onward", self.onward),
        ):
            made.pin(pin_dir / name)
        paths = {name: pin_dir / name for name in PROGRAMS}
        compile_program(flatten(Path(__file__).with_name("generator.c")), [f'-DPIN_DIR="{pin_dir}"'], paths)
        self.programs = {name: obj_get(path) for name, path in paths.items()}

    def arrived(self) -> int:
        """Return how many frames have come through, on all CPUs."""
        return int(np.frombuffer(self._arrived.read(0), np.uint64).sum())

    def prepare(self, frames: Sequence[bytes], count: int, flows: int, *, are_replies: bool = False) -> None:
        """Prepare to send `count` frames per CPU: these frames in turn, of this many flows (a power of two)."""
        state = np.zeros(possible_cpus(), GENERATOR)
        state["turns"], state["flows"] = count, flows
        state["random"] = 0x9E3779B97F4A7C15 + np.arange(possible_cpus(), dtype=np.uint64)
        for number in range(PATTERNS):
            state["frames"][:, number] = pattern(frames[number % len(frames)], is_reply=are_replies)
        self._state.update(0, state.tobytes())

    def send(self, length: int, count: int) -> Sent:
        """Send the frames from the CPU that this thread is pinned to; `length` is the longest frame's."""
        frame = ctypes.create_string_buffer(length)
        run = _LiveRun(
            sz=ctypes.sizeof(_LiveRun),
            data_in=ctypes.addressof(frame),
            data_size_in=length,
            repeat=count,
            flags=BPF_F_TEST_XDP_LIVE_FRAMES,
            batch_size=BATCH,
        )
        try:
            call("bpf_prog_test_run_opts", self.programs["generate"].fileno(), ctypes.byref(run))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise SystemExit("scripts/bench: this kernel sends no live frames, which takes Linux 5.18") from error
        mine = np.frombuffer(self._state.read(0), GENERATOR)[min(os.sched_getaffinity(0))]
        return Sent(int(mine["turn"]), (int(mine["end"]) - int(mine["start"])) / 1e9)
