"""A packet's way through the data plane."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.dataplane.plane import VipEntry

from .access import check_access
from .checks import check_ip, check_tcp_flags
from .choose import choose, choose_for_error, sendable
from .config import NO_BACKEND, Config, SlotState
from .echo import answer_echo, is_echo_request
from .flow_hash import hash_flow
from .flows import record
from .forward import forward
from .fragments import choose_for_fragment, remember
from .icmp_errors import turned_round
from .journey import Choice, Journey, Placement
from .limits import check_limits
from .packet import ICMP, ICMPV6, Fragmented, Packet
from .parse import parse_frame
from .reasons import BadPacket, Reason, Stop, Verdict
from .state import Changes, Found, State
from .vips import find_vip, has_vips

__all__ = ["Outcome", "Reference"]

HEADROOM = 216
"""XDP_PACKET_HEADROOM (256) less the 40 bytes that the kernel keeps for struct xdp_frame."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a packet, why, and what it changes.

    `ifindex` is the NIC it leaves by, None where it does not leave. `reason` is None where it was sent on. The rest is
    what was decided before it was sent or stopped, None or False where it did not come that far. `slot` is the slot's
    number, `owner` and `previous` are ids, 0 for nobody. `record` is the flow's record as it was found, `has_record`
    whether it counted.
    """

    verdict: Verdict
    frame: bytes
    ifindex: int | None
    reason: Reason | None
    vip_id: int | None
    backend_id: int | None
    placement: Placement
    hash: int | None
    slot: int | None
    slot_state: SlotState | None
    owner: int | None
    previous: int | None
    record: Found | None
    has_record: bool
    is_new_flow: bool
    is_at_risk: bool
    changes: Changes


@dataclass(frozen=True, slots=True)
class Reference:
    """The data plane. It changes nothing itself: `state.apply(outcome.changes, cpu)` does."""

    config: Config
    state: State

    def process(self, frame: bytes, ifindex: int, now: int, cpu: int = 0, headroom: int = HEADROOM) -> Outcome:
        """Return what becomes of a frame that comes in by `ifindex` on `cpu` at `now` (ns, CLOCK_MONOTONIC)."""
        journey = Journey(self.config, self.state, ifindex, now, cpu, headroom)
        try:
            sent, out = _balance(journey, frame)
        except Stop as stop:
            return _stopped(journey, frame, stop)
        except BadPacket as bad:
            is_ours = has_vips(self.config, bad.destination)
            return _stopped(journey, frame, Stop(bad.reason if is_ours else Reason.PASS_MALFORMED))
        verdict = Verdict.TX if out == ifindex else Verdict.REDIRECT
        return _outcome(journey, verdict, sent, out, None)


def _balance(journey: Journey, frame: bytes) -> tuple[bytes, int]:
    """Return the frame as it is sent on and the ifindex it leaves by, or raise why it stops."""
    packet = parse_frame(frame, journey.config.features)
    if packet.protocol in {ICMP, ICMPV6}:
        return _send_icmp(journey, packet)
    if packet.fragmented is Fragmented.LATER:
        return _send(journey, packet, choose_for_fragment(journey, packet))
    vip = _vip_of(journey, packet, Reason.PASS_NO_VIP)
    check_ip(packet)
    check_tcp_flags(packet)
    check_access(journey.config, vip, packet.source)
    check_limits(vip, journey.state, packet, journey.now, journey.changes)
    choice = choose(journey, packet, vip, _hash(journey, packet, vip))
    return _send(journey, packet, choice)


def _send_icmp(journey: Journey, packet: Packet) -> tuple[bytes, int]:
    """Answer an echo request, send an error on to the backend it is about; all else is the host's."""
    if packet.fragmented is not Fragmented.WHOLE:
        raise Stop(Reason.PASS_NOT_TCP_UDP)
    if is_echo_request(packet):
        raise answer_echo(journey.config, packet)
    error = turned_round(packet)
    if error is None:
        raise Stop(Reason.PASS_NOT_TCP_UDP)
    vip = _vip_of(journey, error, Reason.PASS_NOT_TCP_UDP)
    check_ip(error)
    check_limits(vip, journey.state, error, journey.now, journey.changes)
    choice = choose_for_error(journey, error, vip, _hash(journey, error, vip))
    return _send(journey, error, choice)


def _vip_of(journey: Journey, packet: Packet, otherwise: Reason) -> VipEntry:
    vip = find_vip(journey.config, packet)
    if vip is None:
        if packet.fragmented is Fragmented.FIRST and has_vips(journey.config, packet.destination):
            remember(journey, packet, NO_BACKEND)  # other ports of an address of ours are the host's, all of the packet
        raise Stop(otherwise)
    journey.vip, journey.vip_id = vip, vip.id
    return vip


def _hash(journey: Journey, packet: Packet, vip: VipEntry) -> int:
    journey.hash = hash_flow(packet, vip.hash_source)
    return journey.hash


def _send(journey: Journey, packet: Packet, choice: Choice) -> tuple[bytes, int]:
    """Send the packet to the backend chosen, and only then record and count what follows from that."""
    assert journey.hash is not None, "the backend was chosen by it"
    assert journey.vip_id is not None, "it has chosen the backend"
    journey.choice = choice
    backend = sendable(journey, choice)
    sent = forward(journey, packet, backend, journey.hash)
    if journey.vip is not None:
        record(journey, packet, journey.vip, choice)
    if packet.fragmented is Fragmented.FIRST:
        remember(journey, packet, backend.id, backend.epoch, journey.vip_id)
    _count_sent(journey, packet, choice)
    return sent


def _count_sent(journey: Journey, packet: Packet, choice: Choice) -> None:
    """Count for the VIP and the backend: bytes are those of the frame as it came in."""
    assert journey.vip_id is not None
    counts = journey.changes.counts
    for kind, number in (("vip", journey.vip_id), ("backend", choice.backend_id)):
        counts[kind, number, "packets"] += 1
        counts[kind, number, "bytes"] += len(packet.frame)
        counts[kind, number, "new_flows"] += choice.is_new_flow
    counts["vip", journey.vip_id, "at_risk"] += choice.at_risk


def _stopped(journey: Journey, frame: bytes, stop: Stop) -> Outcome:
    journey.changes.counts["reason", stop.reason.value, "packets"] += 1
    out = journey.ifindex if stop.reason.verdict is Verdict.TX else None
    return _outcome(journey, stop.reason.verdict, frame if stop.frame is None else stop.frame, out, stop.reason)


def _outcome(journey: Journey, verdict: Verdict, frame: bytes, ifindex: int | None, reason: Reason | None) -> Outcome:
    choice, slot = journey.choice, journey.slot
    return Outcome(
        verdict=verdict,
        frame=frame,
        ifindex=ifindex,
        reason=reason,
        vip_id=journey.vip_id,
        backend_id=(choice.backend_id or None) if choice else None,
        placement=choice.placement if choice else Placement.NOBODY,
        hash=journey.hash,
        slot=journey.slot_number,
        slot_state=slot.state if slot else None,
        owner=slot.owner if slot else None,
        previous=slot.previous if slot else None,
        record=choice.found if choice else None,
        has_record=choice is not None and choice.has_record,
        is_new_flow=choice is not None and choice.is_new_flow,
        is_at_risk=choice is not None and choice.at_risk,
        changes=journey.changes,
    )
