# SPDX-License-Identifier: Apache-2.0
"""How long does a backend take to answer? What the packets of sampled connections tell, which come from clients alone.

The first packet that is neither SYN nor RST answers the SYN-ACK, so the backend has sent one.
"""

from __future__ import annotations

from dataclasses import replace

from xdplb.dataplane.plane import BackendEntry, VipEntry

from .flow_state import Handshake
from .journey import Journey
from .packet import TCP, Packet, TcpFlag

__all__ = ["note_handshake"]

ANSWERED, FIN, RESET = 0x01, 0x02, 0x04  # HANDSHAKE_* of the layout
OVER = ANSWERED | RESET
WAIT_NS = 4_000_000_000
"""For so long a SYN without an answer keeps its place."""

BITS, BUCKETS, FIRST_BIT = 14, 20, 16
MIX = 0x9E3779B97F4A7C15
WORD = (1 << 64) - 1


def note_handshake(journey: Journey, packet: Packet, vip: VipEntry, backend: BackendEntry) -> None:
    """Note what a packet that is sent tells, if it is one of a client and its connection is sampled."""
    assert journey.hash is not None, "the backend was chosen by it"
    share = journey.config.shares.get(vip.id, 0)
    if packet.protocol != TCP or packet.is_icmp_error or not vip.is_sampled or journey.hash & 0xFFFFFFFF >= share:
        return
    flow = _flow_word(packet)
    place = ((journey.hash ^ flow) * MIX & WORD) >> (64 - BITS)
    held = journey.state.handshakes.get(place)
    new = Handshake(
        journey.hash,
        flow,
        packet.source.packed[:8].ljust(8, b"\0"),
        journey.precise,
        journey.precise,
        vip.id,
        backend.id,
        backend.epoch,
    )
    if held is not None and _is_same(held, new):
        noted = _go_on(journey, packet, held, new)
    else:
        noted = new if packet.is_syn and _may_take(journey, held, new) else None
    if noted is not None:
        journey.effects.handshakes[place] = noted
        if noted is new:
            _count(journey, backend.id, "begun")


def _is_same(held: Handshake, new: Handshake) -> bool:
    """Whether it is the connection that has the place, and at the same backend."""
    mine = (new.hash, new.flow, new.vip, new.backend, new.epoch)
    return (held.hash, held.flow, held.vip, held.backend, held.epoch) == mine


def _may_take(journey: Journey, held: Handshake | None, new: Handshake) -> bool:
    """Whether a connection that begins gets the place: its own one, or one where nobody waits any more."""
    if held is None or (held.hash, held.flow) == (new.hash, new.flow) or held.flags & OVER:
        return True
    return journey.precise > held.syn_at + WAIT_NS


def _go_on(journey: Journey, packet: Packet, held: Handshake, new: Handshake) -> Handshake | None:
    """Return what the connection has shown with this packet; `new` if it begins anew, None if this says nothing."""
    now, flags = journey.precise, packet.tcp_flags
    if packet.is_syn:
        if held.flags & OVER:
            return new
        _count(journey, held.backend, "repeated")
        return replace(held, repeated=min(held.repeated + 1, 255), last_at=now)
    if flags & TcpFlag.RST:
        if not held.flags & RESET:
            _count(journey, held.backend, "reset" if held.flags & ANSWERED else "refused")
        return replace(held, flags=held.flags | RESET, last_at=now)
    if flags & TcpFlag.SYN:
        return None
    if not held.flags & OVER:
        _count_answer(journey, held.backend, now - held.syn_at)
        held = replace(held, flags=held.flags | ANSWERED)
    return replace(held, flags=held.flags | (FIN if flags & TcpFlag.FIN else 0), last_at=now)


def _count_answer(journey: Journey, backend_id: int, latency: int) -> None:
    _count(journey, backend_id, "answered")
    _count(journey, backend_id, "latency_ns", latency)
    _count(journey, backend_id, f"latency {min((latency >> FIRST_BIT).bit_length(), BUCKETS - 1)}")


def _count(journey: Journey, backend_id: int, name: str, number: int = 1) -> None:
    journey.effects.counts["handshake", backend_id, name] += number


def _flow_word(packet: Packet) -> int:
    ports = packet.source_port.to_bytes(2, "big") + packet.destination_port.to_bytes(2, "big")
    return int.from_bytes(ports + packet.destination.packed[-4:], "little")
