# SPDX-License-Identifier: Apache-2.0
"""Why a packet goes where it goes: a sentence for each step of the decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.control.answers.packet_words import backend_words
from xdplb.control.explain.comparison import Comparison
from xdplb.control.explain.nat_sentences import reply_sentences, request_sentences
from xdplb.control.explain.question import PacketKind, Question
from xdplb.control.plan.eligibility import Eligibility
from xdplb.control.state.snapshot import BoundVip
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_FROM_PEER, FLOW_RST, FLOW_SECOND_CHOICE
from xdplb.dataplane.plane import VipEntry
from xdplb.reference.config import Config
from xdplb.reference.decision import Decision
from xdplb.reference.flow_state import Flow
from xdplb.reference.journey import Placement
from xdplb.reference.limits import SECOND
from xdplb.reference.reasons import Reason
from xdplb.reference.slot import SlotState

__all__ = ["Story", "reasons"]

SHOWN = 8
"""How many backends a sentence names at most."""


@dataclass(frozen=True, slots=True)
class Story:
    """Input of the sentences: the packet, the answers on it, and what is known of the VIP and its backends."""

    question: Question
    comparison: Comparison
    config: Config
    vip: BoundVip | None
    eligibility: Mapping[int, Eligibility]

    @property
    def decision(self) -> Decision:
        """The decision on the packet."""
        return self.comparison.answer.decision

    def name(self, backend_id: int | None) -> str:
        """Return a backend's address, or words for a backend that is gone or for none."""
        entry = self.config.backends.get(backend_id or 0)
        return backend_words(backend_id, None if entry is None else entry.address)


def reasons(story: Story) -> Iterator[str]:
    """Yield a sentence for each step."""
    decision = story.decision
    yield from _of_vips(story)
    if decision.slot is not None:
        if not _is_per_connection(story):
            yield f"its hash selects slot {decision.slot} of {TABLE_SIZE}, {_slot_text(story)}"
        yield from _of_record(story)
        yield from _of_choice(story)
    if decision.is_at_risk:
        yield "no record says which backend has this connection: if another backend has it, this one resets it"
    if decision.reason is not None and decision.reason in STOPS:
        yield STOPS[decision.reason](story)


def _of_vips(story: Story) -> Iterator[str]:
    vips = story.comparison.vips
    if not vips:
        yield f"no VIP accepts packets for {story.question.destination}"
        yield from reply_sentences(story.question.flow, story.config.backends.values())
        return
    first, *others = vips
    name = story.vip.vip.name if story.vip is not None else None
    rather = f" rather than {', or '.join(_before(first, others))}" if others else ""
    yield f"it is for VIP {first.key}{f' ({name})' if name else ''}{rather}"


def _before(first: VipEntry, others: list[VipEntry]) -> Iterator[str]:
    for other in others[:SHOWN]:
        if first.key.prefix_length != other.key.prefix_length:
            why = "whose prefix is shorter"
        else:
            why = (
                "which has more ports"
                if len(first.key.ports) != len(other.key.ports)
                else "which accepts more protocols"
            )
        yield f"{other.key}, {why}"


def _slot_text(story: Story) -> str:
    decision = story.decision
    owner = story.name(decision.owner)
    if decision.slot_state is SlotState.MOVING:
        return f"which is moving from {story.name(decision.previous)} to {owner}"
    if decision.slot_state is SlotState.PINNED:
        return f"which has moved to {owner}; older connections are in the flow table if they have sent a packet since"
    return f"which is steady and owned by {owner}" if decision.owner else "which has no owner"


def _of_record(story: Story) -> Iterator[str]:
    decision, remembered = story.decision, story.comparison.answer.remembered
    if decision.record is None:
        if remembered.record is not None:
            yield f"there is a record of its flow, for {story.name(remembered.record.backend)}, but it is not looked up"
        elif _is_looked_up(story):
            yield "there is no record of its flow"
        return
    backend = story.name(decision.record.flow.backend)
    if not decision.has_record:
        yield f"the record of its flow does not count: {backend} is not usable, or its id now belongs to another one"
    elif decision.placement is Placement.RECORD:
        yield f"the record of its flow names {backend}{_of_whom(decision.record.flow)}"
    elif decision.placement is Placement.SECOND and decision.record.flow.backend in remembered.suspects:
        waited = (story.comparison.answer.at - decision.record.flow.last_seen) / SECOND
        yield f"the record of its flow says that {backend}, which is suspect, has not answered for {waited:.1f} s"
    else:
        yield f"the record of its flow, for {backend}, is replaced: {_why_new(story, decision.record.flow)}"


def _of_whom(flow: Flow) -> str:
    """Return what else a record says of its flow."""
    second = ", which was its second choice when it began" if flow.flags & FLOW_SECOND_CHOICE else ""
    told = ": another balancer has told of it, and none of its packets has come here yet"
    return second + (told if flow.flags & FLOW_FROM_PEER else "")


def _why_new(story: Story, flow: Flow) -> str:
    """Return why the packet begins a new flow although `flow`, of a usable backend, is recorded for its addresses."""
    has_begun_again = not flow.flags & (FLOW_ESTABLISHED | FLOW_FIN | FLOW_RST)
    if story.question.kind is PacketKind.SYN and has_begun_again and not story.config.backends[flow.backend].takes_new:
        return "that backend takes no new connections, and this is the second SYN in a row"
    return "that flow ended or went silent, and this one is new"


def _is_looked_up(story: Story) -> bool:
    first = story.comparison.vips[0]
    is_tcp = story.question.kind is not PacketKind.DATAGRAM
    is_noted = first.second_choice and story.question.kind is PacketKind.SYN
    return first.track_always or is_noted or (is_tcp and story.decision.slot_state is not SlotState.STEADY)


def _is_per_connection(story: Story) -> bool:
    return bool(story.comparison.vips) and story.comparison.vips[0].scheduler.is_per_connection


def _of_choice(story: Story) -> Iterator[str]:
    decision = story.decision
    backend = story.name(decision.backend_id)
    if decision.placement is Placement.OWNER:
        yield f"it goes to the slot's owner: {backend}"
    elif decision.placement is Placement.PREVIOUS:
        yield f"its connection began before the slot started to move, and stays with {backend}"
    elif decision.placement is Placement.SECOND:
        yield f"it goes to its second choice: {backend}{_why_not_first(story)}"
    elif decision.placement is Placement.SCHEDULER:
        yield _scheduler_text(story, story.comparison.vips[0], backend)
    yield from request_sentences(story.question.flow, story.config.backends.get(decision.backend_id or 0))
    standing = story.eligibility.get(decision.backend_id or 0)
    if standing is not None and standing.reason:
        yield f"{backend}: {standing.reason}"


def _why_not_first(story: Story) -> str:
    """Return why a new flow does not go to the backend that comes first; what a record says was said before."""
    decision = story.decision
    if decision.has_record or _is_per_connection(story):
        return ""
    owner = story.name(decision.owner)
    if not story.config.is_usable(decision.owner or 0):
        return f", since {owner} cannot be sent to"
    return f", since {owner} gets as many new connections as it may"


def _scheduler_text(story: Story, vip: VipEntry, backend: str) -> str:
    answer = story.comparison.answer
    if not vip.scheduler.is_by_load:
        return f"{vip.scheduler}: {backend} is next in turn on CPU {answer.cpu}; each CPU has its own turn"
    known = [entry for entry in story.config.backends.values() if entry.vip_id == vip.id]
    shown = ", ".join(f"{entry.address} {answer.remembered.loads.get(entry.id, 0)}" for entry in known[:SHOWN])
    among = "of all backends" if vip.scheduler.compares_all else "of the two picked by the hash"
    by_weight = " for its weight" if vip.scheduler.weighs_load else ""
    return f"{vip.scheduler}: {among}, {backend} has the fewest open connections{by_weight} ({shown})"


def _no_backend(story: Story) -> str:
    backends = [] if story.vip is None else list(story.vip.backends.values())
    known = ((backend, story.eligibility.get(backend.id)) for backend in backends)
    told = [f"{backend.backend.address}: {why.reason}" for backend, why in known if why is not None and why.reason]
    return "no backend of the VIP is usable" + (f" ({'; '.join(told[:SHOWN])})" if told else "")


def _rejected(story: Story) -> str:
    return f"{_no_backend(story)}, and the client is told at once (all_unhealthy is reject)"


def _backend_down(story: Story) -> str:
    return f"{story.name(story.decision.backend_id)} cannot be sent to: it is down, or its next hop is not known"


def _denied(story: Story) -> str:
    source = story.question.flow.source
    access = story.config.access.get(story.decision.vip_id or 0)
    prefix = access.deny.longest(source) if access is not None else None
    why = f"by the prefix {prefix}" if prefix else "it is in none of the allowed prefixes"
    return f"the VIP's access list denies {source}: {why}"


def _too_big(story: Story) -> str:
    return f"it does not fit the MTU of the path to {story.name(story.decision.backend_id)}"


STOPS: Mapping[Reason, Callable[[Story], str]] = {
    Reason.PASS_NO_VIP: lambda _: "it is passed to the host's own stack",
    Reason.PASS_NOT_IP: lambda _: "it is passed to the host's own stack: no VIP or backend needs packets of this kind",
    Reason.DROP_NO_BACKEND: _no_backend,
    Reason.DROP_BACKEND_DOWN: _backend_down,
    Reason.DROP_DENIED: _denied,
    Reason.DROP_SOURCE_RATE: lambda story: f"{story.question.flow.source} is over the VIP's limit per source",
    Reason.DROP_VIP_RATE: lambda _: "the VIP is over its rate limit",
    Reason.DROP_BACKEND_RATE: lambda story: (
        f"{story.name(story.decision.backend_id)} gets as many new connections as it may, and no other backend can take"
        " it; the client will send it again"
    ),
    Reason.DROP_LAND: lambda _: "its source is the VIP itself",
    Reason.DROP_MARTIAN: lambda story: f"{story.question.flow.source} is not the address of a host on the network",
    Reason.DROP_TOO_BIG: _too_big,
    Reason.ANSWER_REJECTED: _rejected,
    Reason.DROP_INTERNAL: lambda _: "it would go out by a NIC that xdplb is not attached to",
}
"""The sentence for each reason to stop. The packet made for a question cannot stop for any other reason."""
