# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench flows`: what a record in the kernel's table costs if all CPUs share one, and if each has its own.

Each CPU gets packets of its own flows from a process of its own, as from a NIC with several queues: first one CPU
alone, then all at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

from tests.bench import traffic
from tests.bench.harness import FIXED, FRESH, RANDOM, Case, Harness
from tests.bench.services import Service, Services
from tests.bench.tables import print_table
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.libbpf import obj_get, obj_pin
from xdplb.dataplane.map_specs import MapSpec, map_specs
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.plane import Capacity

__all__ = ["measure_flow_tables"]

FLOWS = 1 << 20
BPF_F_NO_COMMON_LRU = 1 << 1
CLIENTS = ("198.18.0.0", "198.19.0.0")
"""Of even and odd CPUs; further ones share flows, which a NIC would not let them."""

KINDS = ("one for all CPUs", "one for all, lists per CPU", "one per CPU")
"""The kernel's LRU hash as it is; with BPF_F_NO_COMMON_LRU; and one for each CPU, of its part of the room."""


@dataclass(frozen=True, slots=True)
class _Packets:
    """What is sent: TCP with these flags, of this many flows."""

    name: str
    flags: str
    mode: int
    flows: int = 1


PACKETS = (
    _Packets("a record found, 1 flow", "A", FIXED),
    _Packets("… 64 k flows", "A", RANDOM, 1 << 16),
    _Packets("… 256 k flows", "A", RANDOM, 1 << 18),
    _Packets("a record made, table full", "S", FRESH),
)


@dataclass(frozen=True, slots=True)
class _Load:
    """What one CPU is to do: these packets for the VIP at `port`, in the program pinned there."""

    packets: _Packets
    port: int
    client: str
    program: Path

    def case(self) -> Case:
        """Return the case for the harness."""
        packets = self.packets
        frame = traffic.tcp(self.port, flags=packets.flags, client=self.client)
        return Case(packets.name, obj_get(self.program), frame, packets.mode, packets.flows)


class _Cpu:
    """A process that stays on one CPU, with a harness of its own."""

    def __init__(self, pin_dir: Path, cpu: int) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("fork"), partial(_settle, pin_dir / f"cpu{cpu}", cpu))

    def start(self, load: _Load, trials: int, turns: int) -> Future[float]:
        """Start to measure; the result is ns per packet."""
        return self._pool.submit(_measure, load, trials, turns)


def measure_flow_tables(pin_dir: Path, *, trials: int, turns: int) -> None:
    """Measure every kind of table and print the figures."""
    cpus = sorted(os.sched_getaffinity(0))
    port, programs = _programs(pin_dir, cpus)
    workers = [_Cpu(pin_dir, cpu) for cpu in cpus]
    rows = []
    for packets in PACKETS:
        for busy in sorted({1, len(cpus)}):
            loads = [
                [_Load(packets, port, CLIENTS[i % 2], program[i]) for i in range(busy)] for program in programs.values()
            ]
            figures = [f"{_together(workers, each, trials, turns):.1f}" for each in loads]
            rows.append((f"{packets.name}, {busy} CPU{'s' * (busy > 1)}", *figures))
    print("DR in a moving slot, ns per packet and CPU, net of an empty program:\n")
    print_table(("flow table", *programs), rows)


def _programs(pin_dir: Path, cpus: Sequence[int]) -> tuple[int, dict[str, list[Path]]]:
    """Return the port of a VIP whose slots move and, for each kind of table, where each CPU's program is pinned."""
    shared, listed, own = KINDS
    made: dict[str, list[Path]] = {}
    port, program = _program(pin_dir / "shared", FLOWS, 0)
    made[shared] = [program] * len(cpus)
    made[listed] = [_program(pin_dir / "listed", FLOWS, BPF_F_NO_COMMON_LRU)[1]] * len(cpus)
    made[own] = [_program(pin_dir / f"own{cpu}", FLOWS // len(cpus), 0)[1] for cpu in cpus]
    return port, made


def _program(pin_dir: Path, flows: int, flags: int) -> tuple[int, Path]:
    pin_dir.mkdir()
    capacity = Capacity(flows=flows)
    plane = BccPlane(Maps.create(pin_dir, capacity))
    for spec in map_specs(capacity):
        if spec.name in {"flows", "probation"}:
            _make_anew(pin_dir, replace(spec, flags=flags))
        elif spec.name == "flow_lines":  # no room: all records are in the tables
            _make_anew(pin_dir, replace(spec, max_entries=1))
    services = Services(plane)
    port = services.port_of(Service(moving=True))
    services.publish()
    program = pin_dir / "measured"
    obj_pin(plane.compile_for(frozenset()), program)
    return port, program


def _make_anew(pin_dir: Path, spec: MapSpec) -> None:
    (pin_dir / spec.name).unlink()
    spec.create().pin(pin_dir / spec.name)


def _together(workers: Sequence[_Cpu], loads: Sequence[_Load], trials: int, turns: int) -> float:
    """Return ns per packet, the mean over all CPUs, with all of them running at once."""
    running = [worker.start(load, trials, turns) for worker, load in zip(workers, loads, strict=False)]
    return mean(future.result() for future in running)


_harnesses: list[Harness] = []
"""In a worker: the harness of its CPU."""


def _settle(pin_dir: Path, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    pin_dir.mkdir()
    _harnesses.append(Harness(pin_dir))


def _measure(load: _Load, trials: int, turns: int) -> float:
    (result,) = _harnesses[0].measure([load.case()], trials=trials, turns=turns)
    return result.ns
