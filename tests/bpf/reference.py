"""What the balancer does with a packet, once more, in plain Python: written from docs/connections.md, not from the C.

Nothing here is fast or shared with the program: lengths are taken with slices, checksums by the book, the hash with
Python's integers. `Reference.process` says what has to come out of one frame; its records and counters go along.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from tests.bpf.balancer import LOOPBACK
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX
from xdplb.dataplane.plane import BackendEntry, Slots, VipEntry
from xdplb.model.vip import Forward, Protocol

__all__ = ["Flow", "Outcome", "Record", "Reference", "flow_of", "slot_number"]

Flow = tuple[int, int, int, int, int]
"""Source, destination, source port, destination port, protocol."""

FIN, SYN, RST, ACK = 1, 2, 4, 16
ESTABLISHED, CLOSED, RESET = 1, 2, 4
PROTOCOLS = {6: Protocol.TCP, 17: Protocol.UDP}
HEADER_BYTES = {6: 20, 17: 8}
MASK = 2**64 - 1
SECOND = 10**9
PINNED = 0xFFFF


@dataclass(frozen=True)
class Record:
    """A record of the flow table; `last_seen` None is "now"."""

    backend: int
    epoch: int
    flags: int
    last_seen: int | None


@dataclass(frozen=True)
class Outcome:
    """What has to come out: the verdict, every byte, and why it stopped, None where it was sent on."""

    verdict: int
    frame: bytes
    reason: str | None


@dataclass(frozen=True)
class Parsed:
    """A whole TCP or UDP packet, or a fragment of one, without ports."""

    packet: bytes
    flow: Flow
    flags: int = 0
    is_fragment: bool = False

    @property
    def is_syn(self) -> bool:
        """Whether it asks for a connection."""
        return self.flags & (SYN | ACK) == SYN


class Stop(Exception):  # noqa: N818 - nothing is wrong
    """The packet goes no further; the argument is the reason's name."""


@dataclass
class Reference:
    """The balancer; `flows` is what its table holds, `counts` what it has counted."""

    vips: Mapping[int, VipEntry]
    tables: Mapping[int, Slots]
    backends: Mapping[int, BackendEntry]
    capacity: int
    flows: dict[Flow, Record] = field(default_factory=dict)
    counts: Counter[tuple[object, ...]] = field(default_factory=Counter)

    def process(self, frame: bytes, now: int) -> Outcome:
        """Return what becomes of a frame that comes in at `now`, in ns."""
        try:
            return self._balance(frame, now)
        except Stop as stop:
            reason = stop.args[0]
            self.counts["reason", reason] += 1
            out = stop.args[1] if len(stop.args) > 1 else frame
            return Outcome(XDP_PASS if reason.startswith("pass") else XDP_DROP, out, reason)

    def _balance(self, frame: bytes, now: int) -> Outcome:
        parsed = _parse(frame)
        vip = self._vip_of(parsed)
        hashed = _hash(parsed.flow, vip.hash_source)
        chosen, record, at_risk = self._choose(parsed, vip, slot_number(hashed), now)
        backend = self._sendable(chosen)
        out = _forward(frame, parsed, backend, hashed)
        if record:
            self.flows[parsed.flow] = Record(chosen, backend.epoch, _flags(parsed), None)
        is_new = parsed.is_syn or (record and parsed.flow[4] == 17)
        for who in (("vip", vip.id), ("backend", chosen)):
            self.counts[*who, "packets"] += 1
            self.counts[*who, "bytes"] += len(frame)
            self.counts[*who, "new_flows"] += is_new
        self.counts["vip", vip.id, "at_risk"] += at_risk
        return Outcome(XDP_TX, out, None)

    def _vip_of(self, parsed: Parsed) -> VipEntry:
        _, destination, _, port, protocol = parsed.flow
        here = [vip for vip in self.vips.values() if int(vip.key.address) == destination]
        if parsed.is_fragment:
            raise Stop("drop_fragment" if here else "pass_fragment")
        for vip in here:
            if (vip.key.port, vip.key.protocol) == (port, PROTOCOLS[protocol]):
                return vip
        raise Stop("pass_no_vip")

    def _choose(self, parsed: Parsed, vip: VipEntry, number: int, now: int) -> tuple[int, bool, bool]:
        """Return the backend's id, whether the flow is to be recorded, and whether the packet counts as at risk."""
        table = self.tables.get(vip.id)
        slot = 0 if table is None else int(table[number])
        owner, previous = slot & 0xFFFF, slot >> 16
        is_tcp = parsed.flow[4] == 6
        if not vip.track_always and (previous == 0 or not is_tcp):
            return owner, False, False
        found = self.flows.get(parsed.flow)
        if found is not None and self._counts(found):
            if parsed.is_syn and _has_ended(found, vip.idle_seconds, now):
                return owner, True, False
            self.flows[parsed.flow] = _touched(found, parsed, now)
            return found.backend, False, False
        record = vip.track_always or previous not in {0, PINNED}
        at_risk = False
        chosen = owner
        if is_tcp and not parsed.is_syn and previous:
            if previous != PINNED and self._usable(previous):
                chosen = previous
            else:
                at_risk = True
                record = vip.track_always
        return chosen, record and not parsed.flags & RST, at_risk

    def _usable(self, number: int) -> bool:
        return number in self.backends and self.backends[number].usable

    def _counts(self, record: Record) -> bool:
        return self._usable(record.backend) and self.backends[record.backend].epoch == record.epoch

    def _sendable(self, number: int) -> BackendEntry:
        if number == 0:
            raise Stop("drop_no_backend")
        if number >= self.capacity:
            raise Stop("drop_internal")
        if not self._usable(number):
            raise Stop("drop_backend_down")
        return self.backends[number]


def _parse(frame: bytes) -> Parsed:
    if frame[12:14] != b"\x08\x00":
        raise Stop("pass_not_ipv4")
    rest = frame[14:]
    if len(rest) < 20:
        raise Stop("pass_malformed")
    header = (rest[0] & 15) * 4
    length, fragment = struct.unpack("!2xH2xH", rest[:8])
    if rest[0] >> 4 != 4 or header < 20 or not header <= length <= len(rest):
        raise Stop("pass_malformed")
    packet = rest[:length]
    protocol = packet[9]
    source, destination = struct.unpack("!II", packet[12:20])
    if protocol not in PROTOCOLS:
        raise Stop("pass_not_tcp_udp")
    if fragment & 0x3FFF:
        return Parsed(packet, (source, destination, 0, 0, protocol), is_fragment=True)
    payload = packet[header:]
    if len(payload) < HEADER_BYTES[protocol]:
        raise Stop("pass_malformed")
    ports = struct.unpack("!HH", payload[:4])
    return Parsed(packet, (source, destination, *ports, protocol), payload[13] if protocol == 6 else 0)


def flow_of(frame: bytes) -> Flow | None:
    """Return the flow of a frame, None where it has none."""
    try:
        parsed = _parse(frame)
    except Stop:
        return None
    return None if parsed.is_fragment else parsed.flow


def _hash(flow: Flow, source_only: bool) -> int:
    source, _, source_port, port, _ = flow
    wire = struct.pack("!IHH", source, 0 if source_only else source_port, 0 if source_only else port)
    value = int.from_bytes(wire, "little") ^ 0x9E3779B97F4A7C15
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor & MASK
    return value ^ value >> 33


def slot_number(hashed: int) -> int:
    """Return the slot of a flow's hash."""
    return (hashed >> 32) * 65537 >> 32


def _flags(parsed: Parsed) -> int:
    flags = 0 if parsed.is_syn else ESTABLISHED
    return flags | (CLOSED if parsed.flags & FIN else 0) | (RESET if parsed.flags & RST else 0)


def _has_ended(record: Record, idle_seconds: int, now: int) -> bool:
    silent = record.last_seen is not None and now > record.last_seen + idle_seconds * SECOND
    return silent or bool(record.flags & (CLOSED | RESET))


def _touched(record: Record, parsed: Parsed, now: int) -> Record:
    silent = record.last_seen is not None and now >= record.last_seen + SECOND
    return replace(record, flags=record.flags | _flags(parsed), last_seen=None if silent else record.last_seen)


def _forward(frame: bytes, parsed: Parsed, backend: BackendEntry, hashed: int) -> bytes:
    hop = backend.next_hop
    assert hop is not None
    extra = 20 if backend.forward is Forward.IPIP else 0
    if len(parsed.packet) + extra > hop.mtu:
        raise Stop("drop_too_big")
    out = hop.destination_mac + hop.source_mac + b"\x08\x00"
    if backend.forward is Forward.IPIP:
        out += _outer(parsed.packet, backend, hashed)
    out += frame[14:]
    if hop.ifindex != LOOPBACK:
        raise Stop("drop_internal", out)
    return out


def _outer(packet: bytes, backend: BackendEntry, hashed: int) -> bytes:
    assert backend.next_hop is not None
    bits = int.from_bytes(struct.pack("<I", hashed & 0xFFFFFFFF), "big") & backend.source_mask
    source = IPv4Address(int(backend.source or backend.next_hop.source) | bits)
    fields = [0x45, packet[1], len(packet) + 20, 0, 0x4000, 64, 4, 0, source.packed, backend.address.packed]
    layout = "!BBHHHBBH4s4s"
    total = sum(struct.unpack("!10H", struct.pack(layout, *fields)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    fields[7] = 0xFFFF - total
    return struct.pack(layout, *fields)
