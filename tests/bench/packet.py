"""`scripts/bench packet`: nanoseconds per packet of the balancer, beside the floors, in one interleaved run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import isnan
from pathlib import Path

import numpy as np

from tests.bench import traffic
from tests.bench.harness import Case, Harness, Result
from tests.bench.planes import ALL_FEATURES, CAPACITY, new_plane
from tests.bench.rows import Row, rows
from tests.bench.services import Services
from tests.bench.tables import print_table
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.libbpf import Fd, obj_get, possible_cpus
from xdplb.dataplane.source import compile_flags, flatten, source_dir

__all__ = ["measure_packets"]

SWAP, FLOOR = "floor: mac swap", "floor: parse, encapsulate"
ANSWER_LIMIT, NO_ANSWER_LIMIT = "#define ANSWER_AHEAD (100 * ANSWER_COST)", "#define ANSWER_AHEAD (1ULL << 63)"
FAR_AHEAD = 1 << 62

RATIOS = (
    ("ipip steady, 1 flow, to the floor", "ipip steady: established, 1 flow", FLOOR, 3.2),
    ("ipip steady, 1 M flows, to 1", "ipip steady: established, 1 M flows", "ipip steady: established, 1 flow", 1.15),
    ("ipip: new SYN, to established", "ipip steady: SYN, ever new flows", "ipip steady: established, 1 M flows", 1.1),
    ("dr: new SYN, to established", "dr steady: SYN, ever new flows", "dr steady: established, 1 M flows", 1.1),
    ("dr: IPv6, to IPv4", "IPv6 dr steady: established, 1 flow", "dr steady: established, 1 flow", 1.15),
    ("ipip: 6in4, to 4in4", "6in4: established, 1 flow", "4in4: established, 1 flow", 1.15),
    ("ipip: 6in6, to 4in6", "6in6: established, 1 flow", "4in6: established, 1 flow", 1.15),
)
NANOSECONDS = (
    ("no VIP", "no VIP: TCP to another address", 25),
    ("dr steady", "dr steady: established, 1 flow", 32),
    ("ping", "ping to a VIP", 15),
    ("ping, IPv6", "ping to a VIP, IPv6", 15),
    ("denied, 1 source", "denied: 1 source", 35),
    ("denied, 1 source, IPv6", "denied: 1 source, IPv6", 35),
)
"""The targets: what of what is at most how much; the second, what takes at most how many nanoseconds."""


def measure_packets(pin_dir: Path, wanted: Collection[str], *, trials: int, turns: int) -> None:
    """Measure the rows whose name contains one of `wanted`, all without any, and print the table."""
    chosen = [row for row in rows() if not wanted or any(part in row.name for part in wanted)]
    plane = new_plane(pin_dir)
    program = plane.compile_for(ALL_FEATURES)
    answering = _answering(pin_dir) if any(row.is_answering for row in chosen) else program
    services = Services(plane)
    cases = {
        row: _case(row, services.port_of(row.service), answering if row.is_answering else program) for row in chosen
    }
    services.publish()
    plane.maps.answer_budget.update(0, np.full(possible_cpus(), FAR_AHEAD, np.uint64))  # spent, for all rows alike
    harness = Harness(pin_dir)
    others = [*_floors(harness), *(case for row, case in cases.items() if not row.fills_flows)]
    results = harness.measure(others, trials=trials, turns=turns)
    # Last, since they turn the whole flow table over, and what the others look up would be gone.
    results += harness.measure([case for row, case in cases.items() if row.fills_flows], trials=trials, turns=turns)
    _report({result.case.name: result for result in results}, trials)


def _case(row: Row, port: int, program: Fd) -> Case:
    before = row.before(port) if row.before else None
    return Case(row.name, program, row.make(port), row.mode, row.flows, row.cut, row.verdict, before)


def _answering(pin_dir: Path) -> Fd:
    """Return the program with as many answers to packets that are too big as there are such packets."""
    text = flatten(source_dir() / "xdplb.c")
    if ANSWER_LIMIT not in text:
        raise RuntimeError(f"the C sources have no {ANSWER_LIMIT!r} any more")
    path = pin_dir / "answering"
    flags = compile_flags(pin_dir, CAPACITY, ALL_FEATURES)
    compile_program(text.replace(ANSWER_LIMIT, NO_ANSWER_LIMIT), flags, {"xdplb": path})
    return obj_get(path)


def _floors(harness: Harness) -> Iterator[Case]:
    yield Case(SWAP, harness.floors["mac_swap"], traffic.tcp(80))
    yield Case(FLOOR, harness.floors["ipip_floor"], traffic.tcp(80))


def _report(results: Mapping[str, Result], trials: int) -> None:
    floor = results[FLOOR].ns
    rows_ = [
        (name, f"{result.ns:.1f}", f"{result.ns / floor:.2f}", str(len(result.trials)))
        for name, result in results.items()
    ]
    print_table(("packet", "ns net of an empty program", "ratio to parse+encapsulate", "trials kept"), rows_)
    if min(len(result.trials) for result in results.values()) < trials:
        print(f"Cases with fewer than {trials} trials: the machine was too busy for figures worth keeping.\n")
    print_table(("target", "at most", "figure", "reached"), list(_targets({k: v.ns for k, v in results.items()})))


def _targets(ns: Mapping[str, float]) -> Iterator[tuple[str, str, str, str]]:
    for target, name, other, limit in RATIOS:
        if name in ns and other in ns:
            yield target, f"{limit:.2f}", f"{ns[name] / ns[other]:.2f}", _yes(ns[name] / ns[other], limit)
    for target, name, most in NANOSECONDS:
        if name in ns:
            yield target, f"{most} ns", f"{ns[name]:.1f} ns", _yes(ns[name], most)


def _yes(figure: float, limit: float) -> str:
    if isnan(figure):
        return "not measured"
    return "yes" if figure <= limit else "no"
