"""Why a packet goes where it goes, a sentence for each step on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.control.eligibility import Verdict
from xdplb.control.explain.look import Look
from xdplb.control.explain.question import PacketKind, Question
from xdplb.control.records import VipRecord
from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import Scheduler
from xdplb.reference.config import Config
from xdplb.reference.decision import Decision
from xdplb.reference.journey import Placement
from xdplb.reference.reasons import Reason
from xdplb.reference.slot import SlotState

__all__ = ["Story", "reasons"]

SHOWN = 8
"""How many backends a sentence names at most."""

BY_LOAD = {Scheduler.LC, Scheduler.WLC, Scheduler.P2C}


@dataclass(frozen=True, slots=True)
class Story:
    """What is to be told: the packet, what was found, and what the control plane knows of the VIP and its backends."""

    question: Question
    look: Look
    config: Config
    vip: VipRecord | None
    verdicts: Mapping[int, Verdict]

    @property
    def decision(self) -> Decision:
        """What becomes of the packet."""
        return self.look.answer.decision

    def name(self, backend_id: int | None) -> str:
        """Return a backend's address, or what there is to say in its place."""
        entry = self.config.backends.get(backend_id or 0)
        return str(entry.address) if entry is not None else "a backend that is gone" if backend_id else "nobody"


def reasons(story: Story) -> Iterator[str]:
    """Yield a sentence for each step."""
    decision = story.decision
    yield from _of_vips(story)
    if decision.slot is not None:
        if not _is_per_connection(story):
            yield f"its hash names slot {decision.slot} of {TABLE_SIZE}, {_slot_text(story)}"
        yield from _of_record(story)
        yield from _of_choice(story)
    if decision.is_at_risk:
        yield "nothing says whose connection it belongs to: another backend may have it, and answers with a reset"
    if decision.reason is not None and decision.reason in STOPS:
        yield STOPS[decision.reason](story)


def _of_vips(story: Story) -> Iterator[str]:
    vips = story.look.vips
    if not vips:
        yield f"no VIP takes packets for {story.question.destination}"
        return
    first, *others = vips
    name = story.vip.vip.name if story.vip is not None else None
    yield f"it is for the VIP {first.key}{f' ({name})' if name else ''}{''.join(_before(first, others))}"


def _before(first: VipEntry, others: list[VipEntry]) -> Iterator[str]:
    for other in others[:SHOWN]:
        if first.key.prefix_length != other.key.prefix_length:
            why = "its prefix is longer"
        else:
            why = "it has fewer ports" if len(first.key.ports) != len(other.key.ports) else "it has fewer protocols"
        yield f", before {other.key}: {why}"


def _slot_text(story: Story) -> str:
    decision = story.decision
    owner = story.name(decision.owner)
    if decision.slot_state is SlotState.MOVING:
        return f"which is moving from {story.name(decision.previous)} to {owner}"
    if decision.slot_state is SlotState.PINNED:
        return f"which has moved to {owner}; connections from before are in the flow table, as far as they have spoken"
    return f"which is steady and {owner}'s" if decision.owner else "which is nobody's"


def _of_record(story: Story) -> Iterator[str]:
    decision, remembered = story.decision, story.look.answer.remembered
    if decision.record is None:
        if remembered.record is not None:
            yield f"there is a record of its flow, of {story.name(remembered.record.backend)}, which is not looked up"
        elif _is_looked_up(story):
            yield "there is no record of its flow"
        return
    backend = story.name(decision.record.flow.backend)
    if not decision.has_record:
        yield f"the record of its flow does not count: {backend} is not sent to, or its id has changed hands since"
    elif decision.placement is Placement.RECORD:
        yield f"the record of its flow names {backend}"
    else:
        yield f"the record of its flow, of {backend}, gives way: that flow has ended or was silent, and this one is new"


def _is_looked_up(story: Story) -> bool:
    first = story.look.vips[0]
    is_tcp = story.question.kind is not PacketKind.DATAGRAM
    return first.track_always or (is_tcp and story.decision.slot_state is not SlotState.STEADY)


def _is_per_connection(story: Story) -> bool:
    return bool(story.look.vips) and story.look.vips[0].scheduler.is_per_connection


def _of_choice(story: Story) -> Iterator[str]:
    decision = story.decision
    backend = story.name(decision.backend_id)
    if decision.placement is Placement.OWNER:
        yield f"the slot's owner gets it: {backend}"
    elif decision.placement is Placement.PREVIOUS:
        yield f"its connection began before the slot did to move, and stays with {backend}"
    elif decision.placement is Placement.SCHEDULER:
        yield _scheduler_text(story, story.look.vips[0], backend)
    verdict = story.verdicts.get(decision.backend_id or 0)
    if verdict is not None and verdict.reason:
        yield f"{backend}: {verdict.reason}"


def _scheduler_text(story: Story, vip: VipEntry, backend: str) -> str:
    if vip.scheduler not in BY_LOAD:
        return f"{vip.scheduler}: on CPU {story.look.answer.cpu}, the next turn is {backend}'s; each CPU takes its own"
    loads = story.look.answer.remembered.loads
    known = [entry for entry in story.config.backends.values() if entry.vip_id == vip.id]
    shown = ", ".join(f"{entry.address} {loads.get(entry.id, 0)}" for entry in known[:SHOWN])
    among = "of two picked by the hash" if vip.scheduler is Scheduler.P2C else "of all"
    by_weight = "" if vip.scheduler is Scheduler.LC else " for its weight"
    return f"{vip.scheduler}: {among}, {backend} has the fewest open connections{by_weight} ({shown})"


def _no_backend(story: Story) -> str:
    known = [story.verdicts.get(record.id) for record in story.vip.backends.values()] if story.vip is not None else []
    records = list(story.vip.backends.values()) if story.vip is not None else []
    told = [
        f"{record.backend.address}: {verdict.reason}"
        for record, verdict in zip(records, known, strict=True)
        if verdict is not None and verdict.reason
    ]
    return "no backend of the VIP may be used" + (f" ({'; '.join(told[:SHOWN])})" if told else "")


def _backend_down(story: Story) -> str:
    return f"{story.name(story.decision.backend_id)} may not be sent to: it is down, or its next hop is not known"


def _denied(story: Story) -> str:
    source = story.question.flow.source
    access = story.config.access.get(story.decision.vip_id or 0)
    prefix = access.deny.longest(source) if access is not None else None
    return f"the VIP's access list keeps {source} out" + (f" by {prefix}" if prefix else ": it lets in only others")


def _too_big(story: Story) -> str:
    return f"it does not fit the MTU of the way to {story.name(story.decision.backend_id)}"


STOPS: Mapping[Reason, Callable[[Story], str]] = {
    Reason.PASS_NO_VIP: lambda _: "it is left to the host's own stack",
    Reason.PASS_NOT_IP: lambda _: "it is left to the host's own stack: no VIP or backend needs packets of this kind",
    Reason.DROP_NO_BACKEND: _no_backend,
    Reason.DROP_BACKEND_DOWN: _backend_down,
    Reason.DROP_DENIED: _denied,
    Reason.DROP_SOURCE_RATE: lambda story: f"{story.question.flow.source} is over what the VIP takes of one source now",
    Reason.DROP_VIP_RATE: lambda _: "the VIP is over what it takes now",
    Reason.DROP_LAND: lambda _: "it says it comes from where it goes",
    Reason.DROP_TOO_BIG: _too_big,
    Reason.DROP_INTERNAL: lambda _: "it would leave by a NIC that xdplb is not on",
}
"""What is said of a packet that stops; such as this packet, made for the question, cannot stop for other reasons."""
