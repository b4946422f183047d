"""What the program that explains says of a frame, beside what the model says."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.dataplane.explained import KernelDecision
from xdplb.reference.process import Outcome
from xdplb.reference.reasons import Verdict

__all__ = ["disagreements"]

PINNED = 0xFFFF


def disagreements(decision: KernelDecision, outcome: Outcome) -> dict[str, tuple[object, object]]:
    """Return what differs, by its name: what the model says, and what the program.

    How a backend was chosen is told of packets that are not left to the host alone.
    """
    pairs = {**dict(_of_all(decision, outcome))}
    if outcome.verdict is not Verdict.PASS:
        pairs.update(_of_ours(decision, outcome))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _of_all(decision: KernelDecision, outcome: Outcome) -> Iterator[tuple[str, tuple[object, object]]]:
    yield "verdict", (outcome.verdict.value, decision.verdict)
    yield "frame", (outcome.frame, decision.frame)
    yield "reason", (None if outcome.reason is None else outcome.reason.value, decision.reason)


def _of_ours(decision: KernelDecision, outcome: Outcome) -> Iterator[tuple[str, tuple[object, object]]]:
    previous = 0 if decision.previous == PINNED else decision.previous
    yield "VIP", (outcome.vip_id, decision.vip_id)
    yield "backend", (outcome.backend_id, decision.backend_id)
    yield "chosen by", (outcome.placement.value, decision.chosen.value)
    yield "hash", (outcome.hash, decision.hash)
    yield "slot", (outcome.slot, decision.slot)
    yield "owner", (outcome.owner, decision.owner)
    yield "previous", (outcome.previous, previous)
    yield "record", (outcome.has_record, decision.has_record)
    yield "new flow", (outcome.is_new_flow, decision.is_new)
    yield "at risk", (outcome.is_at_risk, decision.is_at_risk)
