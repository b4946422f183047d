# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench stages`: what each stage of the packet path costs an established packet.

Stage after stage is cut from the end of the program. What a stage costs is the difference that its cut makes: what only
it needs of the stages before goes with it, such as the parsing of a field. Where the clock counts instructions (QEMU's
-icount with a shift of 0), the figures are instructions, not nanoseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.bench import traffic
from tests.bench.cut import without
from tests.bench.harness import Case, Harness
from tests.bench.planes import ALL_FEATURES, CAPACITY, new_plane
from tests.bench.services import Service, Services
from tests.bench.tables import print_table
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.libbpf import Fd, obj_get
from xdplb.dataplane.source import compile_flags, flatten, source_dir
from xdplb.model.vip import Forward

__all__ = ["STAGES", "measure_stages"]

KEEP_HASH = '({ asm volatile("" : : "r"(hash)); GO_ON; })'
"""With half of it unused, the compiler drops the mask by which older kernels see that a slot is in its table."""

STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "count": (("count_sent", ""), ("balance_other", "XDP_PASS")),
    "forward": (
        ("forward_packet", KEEP_HASH),
        ("forward_out", "XDP_TX"),
        ("choose_has_sequel", "0"),
        ("check_is_link_local", "0"),
        ("fragment_record", ""),
    ),
    "backend": (("choose_settle", "GO_ON"),),
    "slot": (("choose_by_slot", "0"),),
    "hash": (("hash_flow", "0"),),
    "access, limits": (("vip_is_straight", "1"),),
    "check": (("check_packet", "GO_ON"),),
    "VIP": (("vip_of_packet", "1"),),
}
"""From the last to the first: the functions of the C sources that do it, and what each returns instead.

The way of packets that are not plain goes first: kernels could not verify it without the stages.
"""

FIRST = "parse, enter and leave"
"""What is left."""


@dataclass(frozen=True, slots=True)
class _Packet:
    name: str
    service: Service


PACKETS = (
    _Packet("DR", Service()),
    _Packet("IPIP", Service(forward=Forward.IPIP)),
    _Packet("DR, IPv6", Service(version=6)),
    _Packet("IPIP, IPv6", Service(version=6, forward=Forward.IPIP)),
)


def measure_stages(pin_dir: Path, *, trials: int, turns: int) -> None:
    """Compile the program with ever less in it, measure and print the table."""
    plane = new_plane(pin_dir, ALL_FEATURES)
    services = Services(plane)
    frames = {packet.name: traffic.tcp(services.port_of(packet.service), packet.service.version) for packet in PACKETS}
    services.publish()
    texts = list(stage_texts(flatten(source_dir() / "xdplb.c")))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each compiler is a process of its own
        programs = list(pool.map(lambda item: _compile(pin_dir, *item), enumerate(texts)))
    cases = [
        Case(f"{packet} {number}", program, frame)
        for number, program in enumerate(programs)
        for packet, frame in frames.items()
    ]
    ns = {result.case.name: result.ns for result in Harness(pin_dir).measure(cases, trials=trials, turns=turns)}
    rows = []
    for number, stage in enumerate((*STAGES, FIRST)):
        differences = (ns[f"{packet} {number}"] - ns.get(f"{packet} {number + 1}", 0) for packet in frames)
        rows.append((stage, *(f"{difference:.1f}" for difference in differences)))
    rows.reverse()
    rows.append(("all", *(f"{ns[f'{packet} 0']:.1f}" for packet in frames)))
    print(
        "An established TCP packet in a steady slot, with all features: ns, or instructions where they are counted.\n"
    )
    print_table(("stage", *frames), rows)


def stage_texts(text: str) -> Iterator[str]:
    """Yield the whole program, then with ever more stages cut from its end."""
    yield text
    for parts in STAGES.values():
        for function, value in parts:
            text = without(text, function, value)
        yield text


def _compile(pin_dir: Path, number: int, text: str) -> Fd:
    path = pin_dir / f"stage{number}"
    compile_program(text, compile_flags(pin_dir, CAPACITY, ALL_FEATURES), {"xdplb": path})
    return obj_get(path)
