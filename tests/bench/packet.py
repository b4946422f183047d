"""`scripts/bench packet`: nanoseconds per packet of the balancer, beside the floors, in one interleaved run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from tests.bench.harness import FIXED, FRESH, RANDOM, Case, Harness, Result
from tests.bench.tables import print_table
from xdplb.balance.slots import pack
from xdplb.balance.table import WeightedBackend, build
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.libbpf import Fd
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward, Protocol, VipKey

__all__ = ["TARGETS", "measure_packets"]

BACKENDS = 100
FLOWS_100K, FLOWS_1M = 1 << 17, 1 << 20
CLIENT = "198.18.0.1"
VIP = IPv4Address("203.0.113.1")
PORTS = {(Forward.DR, False): 80, (Forward.IPIP, False): 81, (Forward.DR, True): 82, (Forward.IPIP, True): 83}
TARGETS = (
    "ipip steady, 1 flow: at most 3.2 x ipip floor",
    "ipip steady, 1 M flows: at most 1.15 x one flow",
    "ipip steady, new SYN: at most 1.10 x 1 M flows",
    "dr steady, new SYN: at most 1.10 x 1 M flows",
    "no VIP: at most 25 ns where mac swap takes 4",
)


@dataclass(frozen=True, slots=True)
class _Traffic:
    """A kind of packets that every VIP gets; `tcp_flags` None is UDP."""

    name: str
    tcp_flags: str | None
    mode: int
    flows: int = 1


TRAFFIC = (
    _Traffic("established, 1 flow", "A", FIXED),
    _Traffic("established, 100 k flows", "A", RANDOM, FLOWS_100K),
    _Traffic("established, 1 M flows", "A", RANDOM, FLOWS_1M),
    _Traffic("SYN, ever new flows", "S", FRESH),
    _Traffic("UDP, 1 flow", None, FIXED),
    _Traffic("UDP, 1 M flows", None, RANDOM, FLOWS_1M),
)


def measure_packets(plane: BccPlane, program: Fd, pin_dir: Path, *, trials: int, turns: int) -> None:
    """Fill the maps, run all cases and print the table."""
    _fill(plane)
    harness = Harness(pin_dir)
    cases = [*_floors(harness), *_balanced(program), _not_balanced(program)]
    results = harness.measure([case for case in cases if not _fills_flows(case)], trials=trials, turns=turns)
    # Last, since they turn the whole flow table over, and what the others look up would be gone.
    results += harness.measure([case for case in cases if _fills_flows(case)], trials=trials, turns=turns)
    _report({result.case.name: result for result in results}, trials)


def _fills_flows(case: Case) -> bool:
    return "moving" in case.name and case.mode == FRESH


def _fill(plane: BccPlane) -> None:
    """Write a TCP and a UDP VIP for each way to forward and each state of slots; frames leave as they came in."""
    vips = []
    for number, ((forward, moving), port) in enumerate(PORTS.items()):
        entries = _backends(1 + number * BACKENDS, forward)
        owners = build([WeightedBackend(str(entry.address), entry.id, 1) for entry in entries], frozenset())
        previous = np.roll(owners, 1) if moving else np.zeros_like(owners)
        plane.write_backends(entries)
        for vip_id, protocol in ((2 * number, Protocol.TCP), (2 * number + 1, Protocol.UDP)):
            plane.write_table(vip_id, pack(owners, previous))
            vips.append(_vip(vip_id, port, protocol))
    plane.write_vips(vips)


def _backends(first_id: int, forward: Forward) -> list[BackendEntry]:
    hop = NextHop(b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x01", "lo", 1, 9000, IPv4Address("10.0.0.1"))
    return [
        BackendEntry(first_id + number, 1, 0, IPv4Address("10.1.0.1") + number, forward, usable=True, next_hop=hop)
        for number in range(BACKENDS)
    ]


def _vip(vip_id: int, port: int, protocol: Protocol) -> VipEntry:
    return VipEntry(vip_id, VipKey(VIP, port, protocol), track_always=False, hash_source=False, idle_seconds=900)


def _frame(port: int, tcp_flags: str | None = "A", *, address: str = str(VIP)) -> bytes:
    transport = UDP(sport=1, dport=port) if tcp_flags is None else TCP(sport=1, dport=port, flags=tcp_flags)
    frame = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01") / IP(src=CLIENT, dst=address) / transport
    return bytes(frame / (b"\0" * (64 - len(frame))))


def _floors(harness: Harness) -> Iterator[Case]:
    frame = _frame(80)
    yield Case("floor: mac swap", harness.floors["mac_swap"], frame)
    yield Case("floor: parse, encapsulate", harness.floors["ipip_floor"], frame)


def _balanced(program: Fd) -> Iterator[Case]:
    for (forward, moving), port in PORTS.items():
        for traffic in TRAFFIC:
            name = f"{forward} {'moving' if moving else 'steady'}: {traffic.name}"
            yield Case(name, program, _frame(port, traffic.tcp_flags), traffic.mode, traffic.flows)


def _not_balanced(program: Fd) -> Case:
    return Case("no VIP: TCP to another address", program, _frame(80, address="192.0.2.1"))


def _report(results: dict[str, Result], trials: int) -> None:
    floor = results["floor: parse, encapsulate"].ns
    rows = [
        (name, f"{result.ns:.1f}", f"{result.ns / floor:.2f}", str(len(result.trials)))
        for name, result in results.items()
    ]
    print_table(("packet", "ns net of an empty program", "ratio to parse+encapsulate", "trials kept"), rows)
    if min(len(result.trials) for result in results.values()) < trials:
        print(f"Cases with fewer than {trials} trials: the machine was too busy for figures worth keeping.\n")
    print_table(("target", "figure", "reached"), list(_targets({name: result.ns for name, result in results.items()})))


def _targets(ns: dict[str, float]) -> Iterator[tuple[str, str, str]]:
    one = ns["ipip steady: established, 1 flow"]
    ratios = (
        (one / ns["floor: parse, encapsulate"], 3.2),
        (ns["ipip steady: established, 1 M flows"] / one, 1.15),
        (ns["ipip steady: SYN, ever new flows"] / ns["ipip steady: established, 1 M flows"], 1.10),
        (ns["dr steady: SYN, ever new flows"] / ns["dr steady: established, 1 M flows"], 1.10),
        (ns["no VIP: TCP to another address"] / ns["floor: mac swap"], 25 / 4),
    )
    for target, (figure, limit) in zip(TARGETS, ratios, strict=True):
        yield target, f"{figure:.2f}", "yes" if figure <= limit else "no"
