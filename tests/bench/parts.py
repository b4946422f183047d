# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench parts`: what each part of the packet path costs a packet that does not need it.

The same packets run through programs compiled without any feature, with each feature alone, with all features, and
with all but one. Some parts that are always compiled in are cut from the source, to see what they cost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
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
from xdplb.dataplane.features import Features
from xdplb.dataplane.libbpf import Fd, obj_get
from xdplb.dataplane.source import compile_flags, flatten, source_dir
from xdplb.model.vip import Forward

__all__ = ["measure_parts"]

FIXED_PARTS = {
    "header checksum": ("check_header_sum", "1"),
    "checks of what a VIP gets": ("check_packet", "GO_ON"),
    "flow records": ("choose_needs_flow", "0"),
    "ICMP": ("classify_icmp", "CLASS_NOT_OURS"),
    "answers to too big": ("too_big_answer", "DROP_TOO_BIG"),
    "counters": ("count_sent", ""),
}
"""Parts that are always in: the function of the C sources that does them, and what it returns instead."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """A program: its name, its features, and which of FIXED_PARTS is cut from it."""

    name: str
    features: Features
    without: str | None = None


def measure_parts(pin_dir: Path, *, trials: int, turns: int) -> None:
    """Compile all variants, measure them and print the table."""
    plane = new_plane(pin_dir, ALL_FEATURES)
    services = Services(plane)
    forwards = (Forward.DR, Forward.IPIP)
    frames = {forward: traffic.tcp(services.port_of(Service(forward=forward))) for forward in forwards}
    services.publish()
    variants = list(_variants())
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each compiler is a process of its own
        programs = list(pool.map(lambda item: _compile(pin_dir, *item), enumerate(variants)))
    harness = Harness(pin_dir)
    cases = [
        Case(f"{variant.name} {forward}", program, frames[forward])
        for variant, program in zip(variants, programs, strict=True)
        for forward in forwards
    ]
    floor = Case("floor", harness.floors["ipip_floor"], frames[Forward.IPIP])
    ns = {result.case.name: result.ns for result in harness.measure([floor, *cases], trials=trials, turns=turns)}
    print(f"Parse and encapsulate, the floor: {ns['floor']:.1f} ns. Established TCP of IPv4 in a steady slot:\n")
    rows = [
        (variant.name, *(f"{ns[f'{variant.name} {forward}']:.1f}" for forward in forwards), *_differences(variant, ns))
        for variant in variants
    ]
    print_table(("compiled in", "DR ns", "IPIP ns", "DR difference", "IPIP difference"), rows)


def _differences(variant: _Variant, ns: Mapping[str, float]) -> Iterator[str]:
    """Yield how much longer a program takes than the one that it is compared with, for DR and for IPIP."""
    base = "nothing" if len(variant.features) < 2 else "everything"
    for forward in (Forward.DR, Forward.IPIP):
        yield f"{ns[f'{variant.name} {forward}'] - ns[f'{base} {forward}']:+.1f}"


def _variants() -> Iterator[_Variant]:
    yield _Variant("nothing", frozenset())
    for feature in sorted(ALL_FEATURES):
        yield _Variant(f"only {feature}", frozenset({feature}))
    yield _Variant("everything", ALL_FEATURES)
    for feature in sorted(ALL_FEATURES):
        yield _Variant(f"all but {feature}", ALL_FEATURES - {feature})
    for part in FIXED_PARTS:
        yield _Variant(f"all but {part}", ALL_FEATURES, without=part)


def _compile(pin_dir: Path, number: int, variant: _Variant) -> Fd:
    text = flatten(source_dir() / "xdplb.c")
    if variant.without is not None:
        text = without(text, *FIXED_PARTS[variant.without])
    path = pin_dir / f"variant{number}"
    compile_program(text, compile_flags(pin_dir, CAPACITY, variant.features), {"xdplb": path})
    return obj_get(path)
