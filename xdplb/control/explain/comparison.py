# SPDX-License-Identifier: Apache-2.0
"""The answers of the reference model and of the program on a packet, from the same maps, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xdplb.control.explain.differences import differences
from xdplb.control.explain.maps_as_model import matching, now, on_one_cpu, state_of
from xdplb.control.explain.question import Question, frame_of
from xdplb.control.explain.views import Difference
from xdplb.dataplane.decisions import KernelDecision
from xdplb.dataplane.plane import DataPlane, VipEntry
from xdplb.dataplane.remembered import Remembered
from xdplb.model.errors import PlatformError
from xdplb.reference.config import Config
from xdplb.reference.decision import Decision
from xdplb.reference.flow_state import FlowState
from xdplb.reference.nat import answers_directly, serves
from xdplb.reference.process import Reference

__all__ = ["Answer", "Asker", "Comparison"]

REPLY = (
    "it is a reply of a NAT backend: its source becomes the VIP, and the kernel's routes, which the reference model"
    " does not know, say where it goes. xdplb capture shows it"
)
NO_PROGRAM = "only the reference model can answer for an assumed state"


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer, given what earlier packets wrote to the maps (`remembered`), at `at` (ns), on one CPU."""

    decision: Decision
    remembered: Remembered
    at: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The model's answer, the matching VIPs in order of rank, and where the program's answer differs.

    `agree` is None if the program gave no answer or the maps changed meanwhile; `note` says which.
    """

    answer: Answer
    vips: Sequence[VipEntry]
    agree: bool | None
    differences: tuple[Difference, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks about one packet that comes in by the NIC `ifindex`. Blocks: it reads maps and may compile a program."""

    plane: DataPlane
    config: Config
    question: Question
    ifindex: int

    def ask_model(self) -> Comparison:
        """Return the model's answer only."""
        with on_one_cpu() as cpu:
            return Comparison(self._model(cpu), self._vips(), None, note=NO_PROGRAM)

    def ask_both(self) -> Comparison:
        """Return both answers, compared. Traffic goes on, so the model is asked before and after the program."""
        if self._is_reply():
            return replace(self.ask_model(), note=REPLY)
        try:
            self._program()  # compiles it if it is not yet: before the model is asked, and not bound to one CPU
            with on_one_cpu() as cpu:
                early, program, late = self._model(cpu), self._program(), self._model(cpu)
        except PlatformError as error:
            return replace(self.ask_model(), note=f"the program could not be asked: {error}")
        return self._compared(early, late, program)

    def _is_reply(self) -> bool:
        flow = self.question.flow
        backends = self.config.backends.values()
        return not self._vips() and any(
            serves(backend, flow.source, flow.source_port, flow.protocol)
            and not answers_directly(backend, flow.destination)
            for backend in backends
        )

    def _program(self) -> KernelDecision:
        return self.plane.explain(frame_of(self.question), self.ifindex)

    def _compared(self, early: Answer, late: Answer, program: KernelDecision) -> Comparison:
        vips = self._vips()
        # The maps may have changed around the program's answer: it is right if it matches either of the model's.
        for answer in (late, early):
            if not differences(answer.decision, program):
                return Comparison(answer, vips, agree=True)
        if _said(early) != _said(late):
            return Comparison(late, vips, None, note="the state changes too fast to compare the program's answer")
        return Comparison(late, vips, agree=False, differences=differences(late.decision, program))

    def _model(self, cpu: int) -> Answer:
        vips, flow, at = self._vips(), self.question.flow, now()
        if not vips:
            return Answer(self._process(Remembered(), FlowState(), at, cpu), Remembered(), at, cpu)
        remembered = self.plane.recall(flow, vips[0].id)
        at = now()
        state = state_of(flow, vips[0].id, remembered, cpu)
        return Answer(self._process(remembered, state, at, cpu), remembered, at, cpu)

    def _process(self, remembered: Remembered, state: FlowState, at: int, cpu: int) -> Decision:
        config = replace(self.config, suspects=remembered.suspects)
        return Reference(config, state).process(frame_of(self.question), self.ifindex, at, cpu)

    def _vips(self) -> list[VipEntry]:
        return matching(self.config, self.question.flow)


def _said(answer: Answer) -> tuple[object, ...]:
    decision = answer.decision
    return decision.verdict, decision.frame, decision.reason, decision.backend_id, decision.has_record
