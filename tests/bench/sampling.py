# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench sampling`: what it costs a packet that handshakes are sampled.

The same packets run through the program without the feature, and with it: of a VIP that is not sampled, of one that is
where the packet's connection is not in the sample, and of one where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import traffic
from tests.bench.harness import FIXED, FRESH, Case, Harness
from tests.bench.planes import CAPACITY, new_plane
from tests.bench.services import Service, Services
from tests.bench.tables import print_table
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.libbpf import Fd, obj_get
from xdplb.dataplane.source import compile_flags, flatten, source_dir
from xdplb.model.vip import Forward

__all__ = ["measure_sampling"]

FAMILIES: Features = frozenset({Feature.IPV6})
SAMPLING: Features = FAMILIES | {Feature.PASSIVE}
WITHOUT = "without the feature"
SHARES = {"VIP not sampled": None, "connection not in the sample": 0, "connection in the sample": 0xFFFFFFFF}
PACKETS: tuple[tuple[str, int, Callable[[int], bytes], int], ...] = (
    ("established", 4, traffic.tcp, FIXED),
    ("established, IPv6", 6, lambda port: traffic.tcp(port, version=6), FIXED),
    ("SYN, ever new flows", 4, lambda port: traffic.tcp(port, flags="S"), FRESH),
)


def measure_sampling(pin_dir: Path, *, trials: int, turns: int) -> None:
    """Measure all cases interleaved and print the table."""
    plane = new_plane(pin_dir, SAMPLING)
    without, sampling = _compile(pin_dir, FAMILIES), _compile(pin_dir, SAMPLING)
    cases = list(_cases(plane, without, sampling))
    results = {result.case.name: result for result in Harness(pin_dir).measure(cases, trials=trials, turns=turns)}
    ns = {name: result.ns for name, result in results.items()}
    print_table(
        ("packet", "ns net of an empty program", "more than without", "trials kept"),
        [
            (name, f"{ns[name]:.1f}", f"{ns[name] - ns[_base(name)]:+.1f}", str(len(result.trials)))
            for name, result in results.items()
        ],
    )


def _cases(plane: BccPlane, without: Fd, sampling: Fd) -> Iterator[Case]:
    services = Services(plane)
    ports = {
        (version, what): services.port_of(
            Service(version=version, forward=Forward.DR, sampled=share, mtu=9000 - number)
        )
        for version in (4, 6)
        for number, (what, share) in enumerate(SHARES.items())
    }
    services.publish()
    for packet, version, make, mode in PACKETS:
        yield Case(f"{packet}: {WITHOUT}", without, make(ports[version, next(iter(SHARES))]), mode)
        for what in SHARES:
            yield Case(f"{packet}: {what}", sampling, make(ports[version, what]), mode)


def _base(name: str) -> str:
    return f"{name.partition(': ')[0]}: {WITHOUT}"


def _compile(pin_dir: Path, features: Features) -> Fd:
    path = pin_dir / "program"
    compile_program(flatten(source_dir() / "xdplb.c"), compile_flags(pin_dir, CAPACITY, features), {"xdplb": path})
    program = obj_get(path)
    path.unlink()
    return program
