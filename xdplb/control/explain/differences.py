"""Comparing the program's decision with the reference model's. Any difference is a bug in one of them."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.control.explain.views import Difference
from xdplb.dataplane.decisions import KernelDecision
from xdplb.dataplane.layout import SLOT_PINNED
from xdplb.reference.process import Outcome
from xdplb.reference.reasons import Verdict

__all__ = ["differences"]

Pair = tuple[str, object, object]


def differences(outcome: Outcome, decision: KernelDecision) -> tuple[Difference, ...]:
    """Return what differs. How a backend was chosen is not compared for packets that are passed to the host."""
    pairs = [*_of_all(outcome, decision)]
    if outcome.verdict is not Verdict.PASS:
        pairs += _of_ours(outcome, decision)
    return tuple(Difference(what, _text(one), _text(other)) for what, one, other in pairs if one != other)


def _of_all(outcome: Outcome, decision: KernelDecision) -> Iterator[Pair]:
    yield "verdict", outcome.verdict.value, decision.verdict
    yield "frame", outcome.frame, decision.frame
    yield "reason", None if outcome.reason is None else outcome.reason.value, decision.reason


def _of_ours(outcome: Outcome, decision: KernelDecision) -> Iterator[Pair]:
    yield "VIP", outcome.vip_id, decision.vip_id
    yield "backend", outcome.backend_id, decision.backend_id
    yield "chosen by", outcome.placement.value, decision.chosen.value
    yield "hash", outcome.hash, decision.hash
    yield "slot", outcome.slot, decision.slot
    yield "owner", outcome.owner, decision.owner
    yield "previous", outcome.previous, 0 if decision.previous == SLOT_PINNED else decision.previous
    yield "record", outcome.has_record, decision.has_record
    yield "new flow", outcome.is_new_flow, decision.is_new
    yield "at risk", outcome.is_at_risk, decision.is_at_risk


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else "none" if value is None else str(value)
