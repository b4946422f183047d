# SPDX-License-Identifier: Apache-2.0
"""The model's answer beside the program's: what agrees, what differs, what changed too fast to tell."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from tests.fixtures.config import CONFIG, EPOCH
from tests.fuzz.profiles import INGRESS
from xdplb.control.explain.comparison import Asker, Comparison
from xdplb.control.explain.maps_as_model import concerning
from xdplb.control.explain.question import PacketKind, Question
from xdplb.dataplane.decisions import Chosen, KernelDecision
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.layout import SLOT_PINNED
from xdplb.dataplane.plane import Attachment
from xdplb.dataplane.remembered import FlowId
from xdplb.model.access import AccessList
from xdplb.model.errors import PlatformError
from xdplb.model.vip import VipKey

MOVING = VipKey.parse("203.0.113.40:80/tcp")
PINNED = VipKey.parse("203.0.113.41:80/tcp")


def asker(plane: FakePlane, key: VipKey = MOVING) -> Asker:
    """Return who asks about an old packet of a flow to this VIP."""
    flow = FlowId(ip_address("192.0.2.7"), 40000, key.address, key.port, 6)
    return Asker(plane, CONFIG, Question(flow, PacketKind.ESTABLISHED), INGRESS)


@pytest.fixture
def plane() -> FakePlane:
    """A plane on the NIC that packets come in by."""
    made = FakePlane()
    made.attached = [Attachment("lo", INGRESS, "skb", 1)]
    return made


def as_program(comparison: Comparison) -> KernelDecision:
    """Return what a program says that agrees with the model."""
    decision = comparison.answer.decision
    return KernelDecision(
        verdict=decision.verdict.value,
        frame=decision.frame,
        reason=None if decision.reason is None else decision.reason.value,
        chosen=Chosen(decision.placement.value),
        vip_id=decision.vip_id,
        backend_id=decision.backend_id,
        hash=decision.hash,
        slot=decision.slot,
        owner=decision.owner,
        previous=decision.previous,
        has_record=decision.has_record,
        is_new=decision.is_new_flow,
        is_at_risk=decision.is_at_risk,
    )


def test_a_program_that_says_the_same_agrees(plane: FakePlane) -> None:
    plane.decision = as_program(asker(plane).ask_model())
    comparison = asker(plane).ask_both()
    assert (comparison.agree, comparison.differences, comparison.note) == (True, (), "")


def test_a_pinned_slot_has_no_previous_owner_in_either(plane: FakePlane) -> None:
    plane.decision = replace(as_program(asker(plane, PINNED).ask_model()), previous=SLOT_PINNED)
    assert asker(plane, PINNED).ask_both().agree


def test_every_difference_is_named(plane: FakePlane) -> None:
    right = as_program(asker(plane).ask_model())
    plane.decision = replace(right, backend_id=9, chosen=Chosen.OWNER, frame=b"\xff" + right.frame[1:])
    comparison = asker(plane).ask_both()
    assert comparison.agree is False
    assert [each.what for each in comparison.differences] == ["frame", "backend", "chosen by"]
    assert (comparison.differences[1].model, comparison.differences[1].program) == ("2", "9")
    assert comparison.differences[2].model == "previous"
    assert comparison.differences[0].program.startswith("ff")


def test_how_a_packet_is_chosen_for_matters_not_where_it_is_the_host_s(plane: FakePlane) -> None:
    elsewhere = VipKey.parse("203.0.113.99:80/tcp")
    plane.decision = replace(as_program(asker(plane, elsewhere).ask_model()), hash=7)
    assert asker(plane, elsewhere).ask_both().agree


def test_a_program_that_cannot_be_asked_leaves_the_model_s_answer(plane: FakePlane) -> None:
    plane.fail("explain", PlatformError("the kernel refused the program", hint="report it"))
    comparison = asker(plane).ask_both()
    assert comparison.agree is None
    assert comparison.note == "the program could not be asked: the kernel refused the program (report it)"
    assert comparison.answer.decision.backend_id == 2


class Restless(FakePlane):
    """A plane in which the flow is recorded while the program is asked, after it was compiled."""

    def explain(self, frame: bytes, ifindex: int) -> KernelDecision:
        """Return the decision, and record the flow the second time."""
        decision = super().explain(frame, ifindex)
        if self.calls.count("explain") == 2:
            self.add_flow("192.0.2.7", 40000, MOVING, backend=1, epoch=EPOCH)
        return decision


def test_packets_that_change_the_maps_meanwhile_make_no_bug() -> None:
    plane = Restless()
    plane.attached = [Attachment("lo", INGRESS, "skb", 1)]
    early = as_program(asker(plane).ask_model())
    plane.decision = early
    assert asker(plane).ask_both().agree
    late = asker(plane).ask_model()
    assert late.answer.decision.backend_id == 1
    plane.decision = as_program(late)
    assert asker(plane).ask_both().agree
    again = Restless()
    again.attached, again.decision = plane.attached, replace(early, backend_id=9)
    comparison = asker(again).ask_both()
    assert (comparison.agree, comparison.differences) == (None, ())
    assert "changes too fast" in comparison.note


def test_of_an_access_list_no_more_is_kept_than_decides() -> None:
    wide, narrow, other = (ip_network(text) for text in ("192.0.2.0/24", "192.0.2.0/29", "198.51.100.0/24"))
    full = {1: AccessList([wide, narrow, other], [wide]), 2: AccessList([other], []), 3: AccessList([], [other])}
    kept = concerning(full, ip_address("192.0.2.7"))
    assert kept == {1: AccessList([narrow], [wide]), 2: AccessList([other], []), 3: AccessList()}


def test_of_a_nat_backend_s_reply_the_model_alone_answers_and_says_so(plane: FakePlane) -> None:
    """The program asks the kernel's routes, and the model has none: that is no difference between them."""
    reply = FlowId(ip_address("10.0.1.19"), 8080, ip_address("192.0.2.7"), 40000, 6)
    config = replace(CONFIG, routes={})
    plane.decision = as_program(asker(plane).ask_model())
    comparison = Asker(plane, config, Question(reply, PacketKind.ESTABLISHED), INGRESS).ask_both()
    assert (comparison.agree, comparison.differences) == (None, ())
    assert "it is a reply of a NAT backend" in comparison.note
    other = replace(reply, source_port=22)
    assert Asker(plane, config, Question(other, PacketKind.ESTABLISHED), INGRESS).ask_both().agree is False
