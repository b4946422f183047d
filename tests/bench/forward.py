# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench forward`: real frames, in by one NIC of the balancer and out by another or the same one.

With `--katran` Katran's program gets the same frames; it sends by the same NIC only. NAT is measured beside the
kernel's own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.bench.frames import FCS, IMIX
from tests.bench.generator import Generator
from tests.bench.katran import load_katran
from tests.bench.linux_nat import MAC, REPLYING, SPREAD, route_frames, set_up_nftables
from tests.bench.machine import COUNTING, ahead_of_others
from tests.bench.planes import new_plane
from tests.bench.plot import Bars, bar_chart
from tests.bench.services import NAT_SHIFT, Service, Services
from tests.bench.tables import print_table
from tests.bench.traffic import CLIENTS, NAT_BACKENDS, VIPS
from tests.bench.wire import MTU, Wire, new_wire
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.features import Feature
from xdplb.dataplane.libbpf import Fd, link_update, program_info
from xdplb.dataplane.single import pass_program
from xdplb.model.vip import Forward

__all__ = ["measure_forwarding"]

SMALLEST = {4: 64, 6: 66}
"""Frames of UDP cannot be shorter: 62 bytes of headers and the checksum in IPv6."""
FLOWS = 1 << 16
WARM_UP = 1 << 18
PATIENCE, PAUSE = 60, 1.0
"""How often a round is done again in which the kernel counted the runs of programs, and seconds before it."""
WAYS = ("onward", "back")
IN_WORDS = {"onward": "out by another NIC", "back": "back by the same NIC"}
SIZES = ("64", "1518", "IMIX")
MAC_SWAP, KATRAN = "MAC swap", "Katran, IPv4"
NAT_REQUEST, NAT_REPLY = "NAT, IPv4, request", "NAT, IPv4, reply"
NFT_REQUEST, NFT_REPLY = "nftables DNAT, IPv4, request", "nftables DNAT, IPv4, reply"
BESIDE = {NAT_REQUEST: NFT_REQUEST, NAT_REPLY: NFT_REPLY}
CONNECTIONS = 1 << 20
"""Frames after which the kernel has an entry of every flow."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What runs on the balancer, with which frames, and by which NIC they are sent.

    `first` are sent ahead of the first round, so that the kernel has the connections.
    """

    name: str
    program: Fd
    way: str
    size: str
    frames: Sequence[bytes]
    are_replies: bool = False
    first: Sequence[bytes] = ()


@dataclass(slots=True)
class _Result:
    case: _Case
    mpps: list[float] = field(default_factory=list)
    sent: int = 0
    lost: int = 0

    @property
    def best(self) -> float:
        """The fastest round: whoever else uses the machine can only slow one down, by half here."""
        return max(self.mpps)


def measure_forwarding(*, seconds: float, rounds: int, cpus: int, svg: Path | None, katran: Path | None = None) -> None:
    """Measure all cases interleaved, and print the table; write the plot to `svg`, if given.

    `katran` is a checkout of Katran, whose program has a table of connections on one CPU only.
    """
    if katran is not None and cpus > 1:
        raise SystemExit("scripts/bench: --katran is for one CPU; leave out --cpus")
    chosen = sorted(os.sched_getaffinity(0))[-cpus:]
    with new_wire() as wire, pass_program() as passing:
        bench = _Bench(wire, chosen, katran, passing)
        results = [_Result(case) for case in bench.cases()]
        counts = [bench.frames_for(result.case, seconds) for result in results]
        for _ in range(rounds):
            for result, count in zip(results, counts, strict=True):
                bench.run(result, count)
    _report(results, len(chosen))
    if svg is not None:
        svg.write_text(_plot(results))


class _Bench:
    """The wire with everything on it."""

    def __init__(self, wire: Wire, cpus: Sequence[int], katran: Path | None, passing: Fd) -> None:
        self._wire = wire
        self._cpus = cpus
        self._generator = generator = Generator(wire.pin_dir)
        plane_dir = wire.pin_dir / "xdplb"
        plane_dir.mkdir()
        features = frozenset({Feature.IPV6, Feature.OUTER_IPV6})
        plane = new_plane(plane_dir, features | {Feature.NAT})
        self._xdplb, self._nat = plane.compile_for(features), plane.compile_for(features | {Feature.NAT})
        self._passing = passing
        self._link = wire.attach("balancer", "in0", generator.programs["swap_back"])
        self._counting = [wire.attach(host, "eth0", generator.programs["count"]) for host in ("generator", "sink")]
        first = wire.ifindex("generator", "eth0")
        wire.inside("generator", lambda: generator.wire.update(0, first))
        self._nics = {"back": wire.ifindex("balancer", "in0"), "onward": wire.ifindex("balancer", "out0")}
        wire.inside("balancer", lambda: generator.onward.update(0, self._nics["onward"]))
        nics = self._nics.values()
        wire.inside("balancer", lambda: _open_ports(plane, nics))
        services = Services(plane)
        self._ports = {service: services.port_of(service) for service in self._services()}
        self._nat_port = services.port_of(Service(forward=Forward.NAT, mtu=MTU, ifindex=self._nics["onward"]))
        services.publish()
        route_frames(wire)
        set_up_nftables(wire, self._nat_port + NAT_SHIFT)
        port = self._ports[next(iter(self._services("back")))]
        self._katran = None if katran is None else (load_katran(katran, [port], cpus[0]), port)

    def cases(self) -> Iterator[_Case]:
        """Yield every case."""
        swaps = {"onward": "swap_onward", "back": "swap_back"}
        for way in WAYS:
            for size in SIZES:
                swap = self._generator.programs[swaps[way]]
                yield _Case(MAC_SWAP, swap, way, size, _frames(4, 9, size))
                for service in self._services(way):
                    name = f"{service.forward.upper()}, IPv{service.version}"
                    yield _Case(name, self._xdplb, way, size, _frames(service.version, self._ports[service], size))
                if self._katran is not None and way == "back":
                    program, port = self._katran
                    yield _Case(KATRAN, program, way, size, _frames(4, port, size))
        for size in SIZES:
            yield from self._nat_cases(size)

    def _nat_cases(self, size: str) -> Iterator[_Case]:
        """Yield NAT in both directions, by xdplb and by the kernel, behind a program that passes it everything."""
        replies = _replies(self._nat_port + NAT_SHIFT, size)
        yield _Case(NAT_REQUEST, self._nat, "onward", size, _frames(4, self._nat_port, size))
        yield _Case(NFT_REQUEST, self._passing, "onward", size, _frames(4, SPREAD, size))
        yield _Case(NAT_REPLY, self._nat, "onward", size, replies, are_replies=True)
        requests = _frames(4, REPLYING, "64")
        yield _Case(NFT_REPLY, self._passing, "onward", size, replies, are_replies=True, first=requests)

    def _services(self, *ways: str) -> Iterator[Service]:
        for way in ways or WAYS:
            for version in VIPS:
                for forward in (Forward.DR, Forward.IPIP):
                    yield Service(version=version, forward=forward, mtu=MTU, ifindex=self._nics[way])

    def frames_for(self, case: _Case, seconds: float) -> int:
        """Return how many frames a CPU sends in about `seconds`."""
        if case.first:
            connecting = _Case(case.name, case.program, case.way, case.size, case.first)
            self.run(_Result(connecting), CONNECTIONS)
        result = _Result(case)
        self.run(result, WARM_UP)
        return max(WARM_UP, int(result.mpps[0] * 1e6 * seconds / len(self._cpus)))

    def run(self, result: _Result, count: int) -> None:
        """Send this many frames from each CPU, and note how many arrived, and how fast."""
        for _ in range(PATIENCE):
            counted = program_info(result.case.program).runs
            mpps = self._round(result, count)
            if program_info(result.case.program).runs == counted:
                result.mpps.append(mpps)
                return
            time.sleep(PAUSE)
        raise SystemExit(f"scripts/bench: {COUNTING}")

    def _round(self, result: _Result, count: int) -> float:
        link_update(self._link, result.case.program)
        self._generator.prepare(result.case.frames, count, FLOWS, are_replies=result.case.are_replies)
        before = self._generator.arrived()
        length = max(map(len, result.case.frames))
        with ThreadPoolExecutor(len(self._cpus)) as pool:
            sent = list(pool.map(lambda cpu: self._send(cpu, length, count), self._cpus))
        arrived = self._generator.arrived() - before
        frames = sum(part.frames for part in sent)
        result.sent += frames
        result.lost += frames - arrived
        return arrived / max(part.seconds for part in sent) / 1e6

    def _send(self, cpu: int, length: int, count: int):
        def pinned():
            os.sched_setaffinity(0, {cpu})
            with ahead_of_others():
                return self._generator.send(length, count)

        return self._wire.inside("generator", pinned)


def _open_ports(plane: BccPlane, nics: Iterable[int]) -> None:
    for ifindex in nics:
        plane.maps.tx_ports.update(ifindex, ifindex)


def _frames(version: int, port: int, size: str) -> list[bytes]:
    sizes = IMIX if size == "IMIX" else (int(size),)
    return [_frame(version, port, max(bytes_, SMALLEST[version])) for bytes_ in sizes]


def _replies(port: int, size: str) -> list[bytes]:
    """Return what the first backend of the VIP by NAT sends from this port."""
    sizes = IMIX if size == "IMIX" else (int(size),)
    return [_padded(IP(src=NAT_BACKENDS[4], dst=CLIENTS[4], id=0xFFFF), port, 0, each) for each in sizes]


def _frame(version: int, port: int, size: int) -> bytes:
    network = IP(src=CLIENTS[4], dst=VIPS[4], id=0xFFFF) if version == 4 else IPv6(src=CLIENTS[6], dst=VIPS[6])
    return _padded(network, 0, port, size)


def _padded(network: Packet, source_port: int, port: int, size: int) -> bytes:
    """Return a frame with a datagram that makes it as long as this."""
    packet = Ether(src="02:00:00:00:00:09", dst=MAC) / network / UDP(sport=source_port, dport=port)
    return bytes(packet / (b"\0" * (size - FCS - len(packet))))


def _report(results: Sequence[_Result], cpus: int) -> None:
    by_key = {(result.case.way, result.case.name, result.case.size): result for result in results}
    sizes = list(dict.fromkeys(result.case.size for result in results))
    rows = []
    for way, name in dict.fromkeys((result.case.way, result.case.name) for result in results):
        row = [f"{name}, {IN_WORDS[way]}"]
        for size in sizes:
            ours, swap = (by_key[way, which, size].best for which in (name, MAC_SWAP))
            row += [f"{ours / cpus:.2f}", f"{ours / swap:.2f}"]
        of_row = [by_key[way, name, size] for size in sizes]
        rows.append([*row, f"{sum(result.lost for result in of_row):,} of {sum(result.sent for result in of_row):,}"])
    head = [f"Mpps per core, {cpus} core{'s' * (cpus > 1)}"]
    for size in sizes:
        head += [size if size == "IMIX" else f"{size} bytes", "ratio"]
    print_table([*head, "dropped"], rows)
    print("Generator, balancer and sink share the core; a figure is that of the fastest round. Ratios are to the MAC")
    print("swap at the same frame size. Frame sizes are those on the wire, with the checksum of 4 bytes; IPv6 from 66.")
    print("IMIX: 64, 594, 1518 as 7:4:1.")
    for name, theirs in BESIDE.items():
        times = [by_key["onward", name, size].best / by_key["onward", theirs, size].best for size in SIZES]
        shown = ", ".join(f"{ratio:.1f} ({size})" for ratio, size in zip(times, SIZES, strict=True))
        print(f"{name}, as a multiple of {theirs}: {shown}")


def _plot(results: Sequence[_Result]) -> str:
    names = list(dict.fromkeys(result.case.name for result in results))
    groups = list(dict.fromkeys((result.case.way, result.case.size) for result in results))
    heights = {(r.case.name, r.case.way, r.case.size): r.best for r in results}
    bars = [Bars(name, [heights.get((name, way, size)) for way, size in groups]) for name in names]
    labels = [f"{size}, {way}" for way, size in groups]
    title = "Frames forwarded on one core that also sends and counts them"
    return bar_chart(title, "Mpps", labels, bars)
