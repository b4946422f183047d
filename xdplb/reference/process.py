# SPDX-License-Identifier: Apache-2.0
"""The stages of the data plane: parse, classify, admit, choose, then send, answer or stop. bpf/xdplb.c has the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xdplb.dataplane.plane import BackendEntry

from .access import check_access
from .check import check_packet, check_ping
from .choose import choose_for_error, choose_for_request, settle
from .classify import Classified, PacketClass, classify, classify_malformed
from .config import Config
from .counters import count_sent, count_stop, count_verdict
from .decision import Decision, decision_of
from .echo import answer_ping
from .flow import write_record
from .flow_hash import hash_flow
from .flow_state import FlowState
from .forward import forward
from .fragment import choose_for_fragment, remember
from .handshake import note_handshake
from .journey import Choice, Journey
from .limits import check_limits
from .nat import find_reply, send_reply
from .packet import Fragmented, Packet
from .parse import parse_frame
from .reasons import BadPacket, Reason, Stop, Verdict
from .reject import reject
from .share import share
from .slot import NO_BACKEND
from .unwrap import unwrap
from .vip import has_vips

__all__ = ["Reference"]

HEADROOM = 216
"""XDP_PACKET_HEADROOM (256) less the 40 bytes that the kernel keeps for struct xdp_frame."""

FIRST_TELLS = {4: {Reason.PASS_NO_VIP}, 6: {Reason.PASS_NO_VIP, Reason.PASS_NOT_TCP_UDP}}
"""Why a first fragment is passed to the host where the others do not tell: in IPv6, they do not tell the protocol."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The data plane. It changes nothing itself: `state.apply(decision.effects, cpu)` does."""

    config: Config
    state: FlowState

    def process(
        self,
        frame: bytes,
        ifindex: int,
        now: int,
        cpu: int = 0,
        headroom: int = HEADROOM,
        *,
        precise: int | None = None,
    ) -> Decision:
        """Return what becomes of a frame that comes in by `ifindex` on `cpu` at `now` (ns, CLOCK_MONOTONIC).

        `precise` is what the fine clock says then, `now` if it is not given.
        """
        fine = now if precise is None else precise
        journey = Journey(self.config, self.state, ifindex, now, cpu, headroom, fine, frame)
        try:
            sent, out = _process(journey)
        except Stop as stop:
            return _stop(journey, stop)
        except BadPacket as bad:
            return _stop(journey, classify_malformed(self.config, bad))
        verdict = Verdict.TX if out == ifindex else Verdict.REDIRECT
        count_verdict(journey, verdict)
        return decision_of(journey, verdict, sent, out, None)


def _process(journey: Journey) -> tuple[bytes, int]:
    """Return the frame for the backend and the ifindex it is sent out by; raise Stop if the packet is not sent."""
    unwrap(journey)
    packet = parse_frame(journey.frame, journey.config.features)
    classified = _classify(journey, packet)
    if classified.reply_of is not None:
        return send_reply(journey, classified.packet, classified.reply_of, classified.passed_for)
    _admit(journey, classified)
    if classified.packet_class is PacketClass.PING:
        raise answer_ping(classified.packet)
    return _send(journey, classified.packet, _choose(journey, classified))


def _classify(journey: Journey, packet: Packet) -> Classified:
    classified = classify(journey.config, packet)
    if classified.packet_class is PacketClass.FRAGMENT:  # the client's address may have VIPs, but it is no request
        classified = _unless_of_reply(journey, classified)
    if classified.passed_for is not None:
        if packet.fragmented is Fragmented.FIRST and classified.passed_for in FIRST_TELLS[packet.version]:
            _pass_fragments(journey, packet)
        if (backend := find_reply(journey, classified.packet, classified.passed_for)) is not None:
            return replace(classified, packet_class=PacketClass.REPLY, reply_of=backend)
        raise Stop(classified.passed_for)
    if classified.vip is not None:
        journey.vip, journey.vip_id = classified.vip, classified.vip.id
    return classified


def _unless_of_reply(journey: Journey, classified: Classified) -> Classified:
    """Return a non-first fragment as it was classified, or as what is for no VIP if its first one was a reply."""
    if find_reply(journey, classified.packet, Reason.PASS_FRAGMENT) is None:
        return classified
    return Classified(classified.packet, PacketClass.NOT_OURS, passed_for=Reason.PASS_FRAGMENT)


def _pass_fragments(journey: Journey, packet: Packet) -> None:
    """Remember that the rest of this packet is passed to the host too: the address is ours, but this is for no VIP."""
    if has_vips(journey.config, packet.destination):
        remember(journey, packet, NO_BACKEND)


def _admit(journey: Journey, classified: Classified) -> None:
    """Stop a packet that is not let in.

    Access lists are about clients, and an ICMP error comes from a router anywhere. Which VIP a non-first fragment is
    for only the record of the first one tells, so its limits are checked when that is looked up.
    """
    packet, vip = classified.packet, classified.vip
    if classified.packet_class is PacketClass.PING:
        check_ping(packet)
        return
    check_packet(packet)
    if vip is not None:
        if classified.packet_class is PacketClass.REQUEST:
            check_access(journey.config, vip, packet.source)
        check_limits(journey, packet, vip)


def _choose(journey: Journey, classified: Classified) -> Choice:
    """Return the backend that gets the packet."""
    packet, vip = classified.packet, classified.vip
    if vip is None:
        return choose_for_fragment(journey, packet)
    hashed = hash_flow(packet, vip.hash)
    journey.hash = hashed
    if classified.packet_class is PacketClass.ICMP_ERROR:
        return choose_for_error(journey, packet, vip, hashed)
    return choose_for_request(journey, packet, vip, hashed)


def _send(journey: Journey, packet: Packet, choice: Choice) -> tuple[bytes, int]:
    """Send the packet to the backend chosen, and only then record and count what follows from that."""
    assert journey.hash is not None, "the backend was chosen by it"
    assert journey.vip_id is not None, "the backend was chosen for it"
    journey.choice = choice
    backend = _settle(journey, packet, choice)
    sent = forward(journey, packet, backend, journey.hash)
    if journey.vip is not None:
        write_record(journey, packet, journey.vip, choice)
        note_handshake(journey, packet, journey.vip, backend)
        share(journey, packet, journey.vip, choice, backend)
    if packet.fragmented is Fragmented.FIRST:
        remember(journey, packet, backend.id, backend.epoch, journey.vip_id)
    count_sent(journey, packet, choice)
    return sent


def _settle(journey: Journey, packet: Packet, choice: Choice) -> BackendEntry:
    """Return the backend chosen; raise Stop if there is none, which the VIP may want the client to be told."""
    try:
        return settle(journey, choice)
    except Stop as stop:
        if stop.reason is Reason.DROP_NO_BACKEND and journey.vip is not None:
            raise reject(journey, packet, journey.vip) from None
        raise


def _stop(journey: Journey, stop: Stop) -> Decision:
    count_stop(journey, stop.reason)
    verdict = stop.reason.verdict
    count_verdict(journey, verdict)
    out = journey.ifindex if verdict is Verdict.TX else None
    return decision_of(journey, verdict, journey.frame if stop.frame is None else stop.frame, out, stop.reason)
