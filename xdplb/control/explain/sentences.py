"""Why a packet goes where it goes, a sentence for each step on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.control.explain.comparison import Look
from xdplb.control.explain.question import PacketKind, Question
from xdplb.control.plan.eligibility import Eligibility
from xdplb.control.state.snapshot import BoundVip
from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import Scheduler
from xdplb.reference.config import Config, SlotState
from xdplb.reference.journey import Placement
from xdplb.reference.process import Outcome
from xdplb.reference.reasons import Reason

__all__ = ["Story", "reasons"]

SHOWN = 8
"""How many backends a sentence names at most."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is to be told: the packet, what was found, and what the control plane knows of the VIP and its backends."""

    question: Question
    look: Look
    config: Config
    vip: BoundVip | None
    eligibility: Mapping[int, Eligibility]

    @property
    def outcome(self) -> Outcome:
        """What becomes of the packet."""
        return self.look.answer.outcome

    def name(self, backend_id: int | None) -> str:
        """Return a backend's address, or what there is to say in its place."""
        entry = self.config.backends.get(backend_id or 0)
        return str(entry.address) if entry is not None else "a backend that is gone" if backend_id else "nobody"


def reasons(story: Story) -> Iterator[str]:
    """Yield a sentence for each step."""
    outcome = story.outcome
    yield from _of_vips(story)
    if outcome.slot is not None:
        if not _is_per_connection(story):
            yield f"its hash names slot {outcome.slot} of {TABLE_SIZE}, {_slot_text(story)}"
        yield from _of_record(story)
        yield from _of_choice(story)
    if outcome.is_at_risk:
        yield "nothing says whose connection it belongs to: another backend may have it, and answers with a reset"
    if outcome.reason is not None and outcome.reason in STOPS:
        yield STOPS[outcome.reason](story)


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
    outcome = story.outcome
    owner = story.name(outcome.owner)
    if outcome.slot_state is SlotState.MOVING:
        return f"which is moving from {story.name(outcome.previous)} to {owner}"
    if outcome.slot_state is SlotState.PINNED:
        return f"which has moved to {owner}; connections from before are in the flow table, as far as they have spoken"
    return f"which is steady and {owner}'s" if outcome.owner else "which is nobody's"


def _of_record(story: Story) -> Iterator[str]:
    outcome, remembered = story.outcome, story.look.answer.remembered
    if outcome.record is None:
        if remembered.record is not None:
            yield f"there is a record of its flow, of {story.name(remembered.record.backend)}, which is not looked up"
        elif _is_looked_up(story):
            yield "there is no record of its flow"
        return
    backend = story.name(outcome.record.flow.backend)
    if not outcome.has_record:
        yield f"the record of its flow does not count: {backend} is not sent to, or its id has changed hands since"
    elif outcome.placement is Placement.RECORD:
        yield f"the record of its flow names {backend}"
    else:
        yield f"the record of its flow, of {backend}, gives way: that flow has ended or was silent, and this one is new"


def _is_looked_up(story: Story) -> bool:
    first = story.look.vips[0]
    is_tcp = story.question.kind is not PacketKind.DATAGRAM
    return first.track_always or (is_tcp and story.outcome.slot_state is not SlotState.STEADY)


def _is_per_connection(story: Story) -> bool:
    return bool(story.look.vips) and story.look.vips[0].scheduler.is_per_connection


def _of_choice(story: Story) -> Iterator[str]:
    outcome = story.outcome
    backend = story.name(outcome.backend_id)
    if outcome.placement is Placement.OWNER:
        yield f"the slot's owner gets it: {backend}"
    elif outcome.placement is Placement.PREVIOUS:
        yield f"its connection began before the slot did to move, and stays with {backend}"
    elif outcome.placement is Placement.SCHEDULER:
        yield _scheduler_text(story, story.look.vips[0], backend)
    standing = story.eligibility.get(outcome.backend_id or 0)
    if standing is not None and standing.reason:
        yield f"{backend}: {standing.reason}"


def _scheduler_text(story: Story, vip: VipEntry, backend: str) -> str:
    if not vip.scheduler.is_by_load:
        return f"{vip.scheduler}: on CPU {story.look.answer.cpu}, the next turn is {backend}'s; each CPU takes its own"
    loads = story.look.answer.remembered.loads
    known = [entry for entry in story.config.backends.values() if entry.vip_id == vip.id]
    shown = ", ".join(f"{entry.address} {loads.get(entry.id, 0)}" for entry in known[:SHOWN])
    among = "of two picked by the hash" if vip.scheduler is Scheduler.P2C else "of all"
    by_weight = "" if vip.scheduler is Scheduler.LC else " for its weight"
    return f"{vip.scheduler}: {among}, {backend} has the fewest open connections{by_weight} ({shown})"


def _no_backend(story: Story) -> str:
    backends = [] if story.vip is None else list(story.vip.backends.values())
    known = ((backend, story.eligibility.get(backend.id)) for backend in backends)
    told = [f"{backend.backend.address}: {why.reason}" for backend, why in known if why is not None and why.reason]
    return "no backend of the VIP may be used" + (f" ({'; '.join(told[:SHOWN])})" if told else "")


def _backend_down(story: Story) -> str:
    return f"{story.name(story.outcome.backend_id)} may not be sent to: it is down, or its next hop is not known"


def _denied(story: Story) -> str:
    source = story.question.flow.source
    access = story.config.access.get(story.outcome.vip_id or 0)
    prefix = access.deny.longest(source) if access is not None else None
    return f"the VIP's access list keeps {source} out" + (f" by {prefix}" if prefix else ": it lets in only others")


def _too_big(story: Story) -> str:
    return f"it does not fit the MTU of the way to {story.name(story.outcome.backend_id)}"


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
