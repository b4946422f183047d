# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench sharing`: what it costs a packet that other balancers are told of connections.

The same packets run through the program without the feature and with it, in slots that are steady, moving and pinned;
with `--against` through that of another checkout, too. A reader takes what is told, as in a daemon.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.bench import traffic
from tests.bench.harness import FIXED, FRESH, OPENING, RANDOM, Case, Harness
from tests.bench.planes import CAPACITY, new_plane
from tests.bench.services import Service, Services
from tests.bench.tables import print_table
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.libbpf import Fd, obj_get
from xdplb.dataplane.map_specs import map_specs
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.shared_flows import SharedFlowReader
from xdplb.dataplane.source import compile_flags, flatten, source_dir

__all__ = ["measure_sharing"]

FAMILIES: Features = frozenset({Feature.IPV6})
TELLING: Features = FAMILIES | {Feature.SYNC}
WITHOUT, WITH, BEFORE = "without the feature", "with it", "the other checkout"
FLOWS = 1 << 16

RING_BYTES = 1 << 22
"""Packets come faster here than from any client that opens connections: the ring has more room than a daemon's."""
GATHER_SECONDS = 0.003

STEADY, MOVING, PINNED = Service(), Service(moving=True), Service(pinned=True)
PACKETS: tuple[tuple[str, Service, Callable[[int], bytes], int, int], ...] = (
    ("steady: established", STEADY, traffic.tcp, FIXED, 1),
    ("steady: established, IPv6", replace(STEADY, version=6), lambda port: traffic.tcp(port, version=6), FIXED, 1),
    ("steady: SYN, ever new flows", STEADY, lambda port: traffic.tcp(port, flags="S"), FRESH, 1),
    ("steady: SYN and ACK in turn, ever new flows", STEADY, lambda port: traffic.tcp(port, flags="S"), OPENING, 1),
    ("moving: established", MOVING, traffic.tcp, FIXED, 1),
    ("moving: established, 64 k flows", MOVING, traffic.tcp, RANDOM, FLOWS),
    ("pinned: established", PINNED, traffic.tcp, FIXED, 1),
    ("pinned: established, 64 k flows", PINNED, traffic.tcp, RANDOM, FLOWS),
    ("moving: old connections, ever new", MOVING, traffic.tcp, FRESH, 1),
    ("moving: SYN and ACK in turn, ever new flows", MOVING, lambda port: traffic.tcp(port, flags="S"), OPENING, 1),
)
"""Those that fill the flow tables are last."""


def measure_sharing(pin_dir: Path, *, trials: int, turns: int, against: Path | None = None) -> None:
    """Measure all cases interleaved and print the table; `against` is another checkout, with the same layout."""
    plane = new_plane(pin_dir, TELLING)
    (spec,) = (each for each in map_specs(CAPACITY, TELLING) if each.name == "shared_flows")
    (pin_dir / spec.name).unlink()
    replace(spec, max_entries=RING_BYTES).create().pin(pin_dir / spec.name)
    services = Services(plane)
    ports = {service: services.port_of(service) for _, service, *_ in PACKETS}
    services.publish()
    programs = {} if against is None else {BEFORE: _compile(pin_dir, FAMILIES, against / "bpf")}
    programs |= {WITHOUT: _compile(pin_dir, FAMILIES), WITH: _compile(pin_dir, TELLING)}
    cases = [
        Case(f"{name}: {which}", program, make(ports[service]), mode, flows)
        for name, service, make, mode, flows in PACKETS
        for which, program in programs.items()
    ]
    harness = Harness(pin_dir)
    filling = [case for case in cases if case.name.startswith("moving") and case.mode in {FRESH, OPENING}]
    with _reading(pin_dir) as read:
        results = harness.measure([case for case in cases if case not in filling], trials=trials, turns=turns)
        results += harness.measure(filling, trials=trials, turns=turns)
    ns = {result.case.name: result.ns for result in results}
    kept = {result.case.name: len(result.trials) for result in results}
    print_table(
        ("packet", *programs, "more with it", "trials kept, at least"),
        [
            (
                name,
                *(f"{ns[f'{name}: {which}']:.1f}" for which in programs),
                f"{ns[f'{name}: {WITH}'] - ns[f'{name}: {WITHOUT}']:+.1f}",
                str(min(kept[f"{name}: {which}"] for which in programs)),
            )
            for name, *_ in PACKETS
        ],
    )
    print("ns net of an empty program. A SYN and the ACK after it are two packets: the figure is for each of them.")
    print(f"{read[0]:,} connections were told, {read[1]:,} did not fit into the ring.")


@contextmanager
def _reading(pin_dir: Path) -> Iterator[list[int]]:
    """Read what is told meanwhile, in a thread; yield how many there were, and how many did not fit."""
    ring, losses = BpfMap.open(pin_dir / "shared_flows"), BpfMap.open(pin_dir / "shared_losses")
    count, stopped = [0, 0], threading.Event()
    with SharedFlowReader(ring, losses) as reader:

        def read() -> None:
            while not stopped.wait(GATHER_SECONDS):
                count[0] += len(reader.read())

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield count
        finally:
            stopped.set()
            thread.join()
            count[1] = reader.lost()


def _compile(pin_dir: Path, features: Features, source: Path | None = None) -> Fd:
    path = pin_dir / "program"
    text = flatten((source or source_dir()) / "xdplb.c")
    compile_program(text, compile_flags(pin_dir, CAPACITY, features), {"xdplb": path})
    program = obj_get(path)
    path.unlink()
    return program
