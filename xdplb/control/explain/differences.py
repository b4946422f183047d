# SPDX-License-Identifier: Apache-2.0
"""What the program says of a packet, beside what the reference model says. Any difference is a bug of one of them."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.control.explain.views import Difference
from xdplb.dataplane.decisions import KernelDecision
from xdplb.dataplane.layout import SLOT_PINNED
from xdplb.reference.decision import Decision
from xdplb.reference.reasons import Verdict

__all__ = ["differences"]

Pair = tuple[str, object, object]


def differences(model: Decision, program: KernelDecision) -> tuple[Difference, ...]:
    """Return what differs. How a backend was chosen is not compared for packets that are passed to the host."""
    pairs = [*_of_all(model, program)]
    if model.verdict is not Verdict.PASS:
        pairs += _of_ours(model, program)
    return tuple(Difference(what, _text(one), _text(other)) for what, one, other in pairs if one != other)


def _of_all(model: Decision, program: KernelDecision) -> Iterator[Pair]:
    yield "verdict", model.verdict.value, program.verdict
    yield "frame", model.frame, program.frame
    yield "reason", None if model.reason is None else model.reason.value, program.reason


def _of_ours(model: Decision, program: KernelDecision) -> Iterator[Pair]:
    yield "VIP", model.vip_id, program.vip_id
    yield "backend", model.backend_id, program.backend_id
    yield "chosen by", model.placement.value, program.chosen.value
    yield "hash", model.hash, program.hash
    yield "slot", model.slot, program.slot
    yield "owner", model.owner, program.owner
    yield "previous", model.previous, 0 if program.previous == SLOT_PINNED else program.previous
    yield "record", model.has_record, program.has_record
    yield "new flow", model.is_new_flow, program.is_new
    yield "at risk", model.is_at_risk, program.is_at_risk


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else "none" if value is None else str(value)
