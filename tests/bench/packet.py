# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench packet`: nanoseconds per packet of the balancer, beside the floors, in one interleaved run.

With `--against` the program of a second source tree is measured on the same packets and maps, in the same run; with
`--katran` Katran's, on the same packets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import ip_address, ip_network
from math import isnan
from pathlib import Path

import numpy as np

from tests.bench import traffic
from tests.bench.harness import FIXED, FRESH, RANDOM, Case, Harness, Result
from tests.bench.katran import load_katran
from tests.bench.machine import COUNTING
from tests.bench.planes import ALL_FEATURES, CAPACITY, new_plane
from tests.bench.rows import FLOWS_1M, FLOWS_100K, Row, rows
from tests.bench.services import Services
from tests.bench.tables import print_table
from tests.fuzz.routes import Namespace
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.libbpf import Fd, obj_get, possible_cpus
from xdplb.dataplane.source import compile_flags, flatten, source_dir
from xdplb.model.decap import Decap

__all__ = ["measure_packets"]

SWAP, FLOOR = "floor: mac swap", "floor: parse, encapsulate"
ANSWER_LIMIT, NO_ANSWER_LIMIT = "#define ANSWER_AHEAD (100 * ANSWER_COST)", "#define ANSWER_AHEAD (1ULL << 63)"
FAR_AHEAD = 1 << 62
BEFORE = "before: "
"""In front of the names of the cases that run the second tree's program."""

KATRAN_PORT = 1000
KATRAN: tuple[tuple[str, Callable[[int], bytes], int, int], ...] = (
    ("Katran: established, 1 flow", traffic.tcp, FIXED, 1),
    ("Katran: established, 100 k flows", traffic.tcp, RANDOM, FLOWS_100K),
    ("Katran: established, 1 M flows", traffic.tcp, RANDOM, FLOWS_1M),
    ("Katran: SYN, ever new flows", lambda port: traffic.tcp(port, flags="S"), FRESH, 1),
)
"""What Katran's program gets; the last one fills its table."""

RATIOS = (
    ("ipip steady, 1 M flows, to 1", "ipip steady: established, 1 M flows", "ipip steady: established, 1 flow", 1.15),
    ("ipip: new SYN, to established", "ipip steady: SYN, ever new flows", "ipip steady: established, 1 M flows", 1.1),
    ("dr: new SYN, to established", "dr steady: SYN, ever new flows", "dr steady: established, 1 M flows", 1.1),
    ("dr: IPv6, to IPv4", "IPv6 dr steady: established, 1 flow", "dr steady: established, 1 flow", 1.15),
    ("ipip: 6in4, to 4in4", "6in4: established, 1 flow", "4in4: established, 1 flow", 1.15),
    ("nat request, to dr", "nat: established, 1 flow", "dr steady: established, 1 flow", 1.3),
    ("nat reply, to dr", "nat: a reply, next hop known", "dr steady: established, 1 flow", 1.3),
    ("ipip: 6in6, to 4in6", "6in6: established, 1 flow", "4in6: established, 1 flow", 1.15),
)
NANOSECONDS = (
    ("no VIP", "no VIP: TCP to another address", 25),
    ("dr steady", "dr steady: established, 1 flow", 28),
    ("ipip steady", "ipip steady: established, 1 flow", 36),
    ("ping", "ping to a VIP", 15),
    ("ping, IPv6", "ping to a VIP, IPv6", 15),
    ("denied, 1 source", "denied: 1 source", 35),
    ("denied, 1 source, IPv6", "denied: 1 source, IPv6", 35),
)
"""The targets: what of what is at most how much; the second, what takes at most how many nanoseconds."""


def measure_packets(
    pin_dir: Path,
    wanted: Collection[str],
    *,
    trials: int,
    turns: int,
    against: Path | None = None,
    katran: Path | None = None,
) -> None:
    """Measure the rows whose name contains one of `wanted`, all without any, and print the table.

    `against` is another checkout: its bpf/ is compiled for the present maps, so its layout must be the same.
    `katran` is a checkout of Katran.
    """
    chosen = [row for row in rows() if not wanted or any(part in row.name for part in wanted)]
    plane = new_plane(pin_dir, ALL_FEATURES)
    services = Services(plane)
    ports = {row: services.port_of(row.service) for row in chosen}
    services.publish()
    plane.write_decap(Decap((ip_address(traffic.TUNNEL_END),), (ip_network("0.0.0.0/0"),)))
    plane.maps.answer_budget.update(0, np.full(possible_cpus(), FAR_AHEAD, np.uint64))  # spent, for all rows alike
    trees = {"": source_dir()} if against is None else {"": source_dir(), BEFORE: against / "bpf"}
    programs = [_cases(pin_dir, ports, source, prefix) for prefix, source in trees.items()]
    cases = [case for same_row in zip(*programs, strict=True) for case in same_row]
    full = {prefix + row.name for row in chosen if row.fills_flows for prefix in trees}
    if katran is not None:
        cases += _katran(katran)
        full.add(cases[-1].name)
    harness = Harness(pin_dir)
    others = [*_floors(harness), *(case for case in cases if case.name not in full)]
    with Namespace().entered():  # with routes for the replies of NAT backends
        results = harness.measure(others, trials=trials, turns=turns)
        # Last, since they turn the whole flow table over, and what the others look up would be gone.
        results += harness.measure([case for case in cases if case.name in full], trials=trials, turns=turns)
    _report({result.case.name: result for result in results}, trials)


def _cases(pin_dir: Path, ports: Mapping[Row, int], source: Path, prefix: str) -> Iterator[Case]:
    """Yield each row's case, its name behind `prefix`, on the program made of the C sources in `source`."""
    text = flatten(source / "xdplb.c")
    program = _compiled(pin_dir, text)
    answering = _compiled(pin_dir, _answering(text)) if any(row.is_answering for row in ports) else program
    for row, port in ports.items():
        before = row.before(port) if row.before else None
        tested = answering if row.is_answering else program
        yield Case(prefix + row.name, tested, row.make(port), row.mode, row.flows, row.cut, row.verdict, before)


def _katran(checkout: Path) -> list[Case]:
    program = load_katran(checkout, [KATRAN_PORT], max(os.sched_getaffinity(0)))
    return [Case(name, program, make(KATRAN_PORT), mode, flows) for name, make, mode, flows in KATRAN]


def _answering(text: str) -> str:
    """Return the program with as many answers to packets that are too big as there are such packets."""
    if ANSWER_LIMIT not in text:
        raise RuntimeError(f"the C sources have no {ANSWER_LIMIT!r} any more")
    return text.replace(ANSWER_LIMIT, NO_ANSWER_LIMIT)


def _compiled(pin_dir: Path, text: str) -> Fd:
    path = pin_dir / "program"
    compile_program(text, compile_flags(pin_dir, CAPACITY, ALL_FEATURES), {"xdplb": path})
    program = obj_get(path)
    path.unlink()
    return program


def _floors(harness: Harness) -> Iterator[Case]:
    yield Case(SWAP, harness.floors["mac_swap"], traffic.tcp(80))
    yield Case(FLOOR, harness.floors["ipip_floor"], traffic.tcp(80))


def _report(results: Mapping[str, Result], trials: int) -> None:
    ns = {name: result.ns for name, result in results.items()}
    head = ["packet", "ns net of an empty program", "ratio to parse+encapsulate", "trials kept"]
    rows_ = [
        [name, f"{ns[name]:.1f}", f"{ns[name] / ns[FLOOR]:.2f}", str(len(result.trials))]
        for name, result in results.items()
        if not name.startswith(BEFORE)
    ]
    if len(rows_) < len(results):
        head += ["ns before", "ratio to before"]
        rows_ = [[*row, *_compared(row[0], ns)] for row in rows_]
    print_table(head, rows_)
    if min(len(result.trials) for result in results.values()) < trials:
        print(f"Cases with fewer than {trials} trials: the machine was too busy for figures worth keeping, or")
        print(f"{COUNTING}\n")
    print_table(("target", "at most", "figure", "reached"), list(_targets(ns)))


def _compared(name: str, ns: Mapping[str, float]) -> tuple[str, str]:
    """Return what the second tree's program takes for this packet, and the ratio to that; nothing where it has none."""
    before = ns.get(BEFORE + name)
    return ("", "") if before is None else (f"{before:.1f}", f"{ns[name] / before:.2f}")


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
