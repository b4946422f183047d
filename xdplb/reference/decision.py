# SPDX-License-Identifier: Apache-2.0
"""What was decided about a packet: the counterpart of struct decision and dataplane's KernelDecision."""

from __future__ import annotations

from dataclasses import dataclass

from .flow_state import Effects, Found
from .journey import Journey, Placement
from .reasons import Reason, Verdict
from .slot import SlotState

__all__ = ["Decision", "decision_of"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a packet, why, and its effects on what the data plane remembers.

    `ifindex` is the NIC it is sent out by, None if it is not sent. `reason` is None if it was sent to a backend. The
    rest is what was decided until it was sent or stopped, None or False where it did not come that far. `slot` is the
    slot's number, `owner` and `previous` are ids, 0 for none. `record` is the flow's record as it was found,
    `has_record` whether it was valid.
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
    effects: Effects


def decision_of(
    journey: Journey, verdict: Verdict, frame: bytes, ifindex: int | None, reason: Reason | None
) -> Decision:
    """Return the decision about a packet at the end of its journey."""
    choice, slot = journey.choice, journey.slot
    return Decision(
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
        effects=journey.effects,
    )
