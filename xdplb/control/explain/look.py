"""One look at a packet: the reference model's answer and the program's, on the same maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xdplb.control.explain.compare import differences
from xdplb.control.explain.model import matching, now, on_one_cpu, state_of
from xdplb.control.explain.question import Question, frame_of
from xdplb.control.explain.views import Difference
from xdplb.dataplane.explained import KernelDecision
from xdplb.dataplane.plane import DataPlane, VipEntry
from xdplb.dataplane.remembered import Remembered
from xdplb.model.errors import PlatformError
from xdplb.reference.config import Config
from xdplb.reference.decision import Decision
from xdplb.reference.flow_state import FlowState
from xdplb.reference.process import Reference

__all__ = ["Answer", "Asker", "Look"]

NO_PROGRAM = "a program cannot be asked about what is not so: this is what the reference model says"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says: on what packets have left in the maps, at `at` (ns), on one CPU."""

    decision: Decision
    remembered: Remembered
    at: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Look:
    """The model's answer, the VIPs that match, the first one first, and what the program says otherwise.

    `agree` is None where the program has no answer or the maps changed under the look; `note` says which.
    """

    answer: Answer
    vips: Sequence[VipEntry]
    agree: bool | None
    differences: tuple[Difference, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks about one packet that comes in by the NIC `ifindex`. Blocks: reads maps, and perhaps compiles a program."""

    plane: DataPlane
    config: Config
    question: Question
    ifindex: int

    def ask_model(self) -> Look:
        """Return the model's answer alone."""
        with on_one_cpu() as cpu:
            return Look(self._model(cpu), self._vips(), None, note=NO_PROGRAM)

    def ask_both(self) -> Look:
        """Return both answers, compared. Packets go on meanwhile: the program may have seen what either look saw."""
        try:
            self._program()  # has the program compiled where it is not yet: on whatever CPU is free, and not in between
            with on_one_cpu() as cpu:
                early, program, late = self._model(cpu), self._program(), self._model(cpu)
        except PlatformError as error:
            return replace(self.ask_model(), note=f"the program could not be asked: {error}")
        return self._compared(early, late, program)

    def _program(self) -> KernelDecision:
        return self.plane.explain(frame_of(self.question), self.ifindex)

    def _compared(self, early: Answer, late: Answer, program: KernelDecision) -> Look:
        vips = self._vips()
        for answer in (late, early):
            if not differences(answer.decision, program):
                return Look(answer, vips, agree=True)
        if _said(early) != _said(late):
            return Look(late, vips, None, note="what it depends on changes too fast to compare the program's answer")
        return Look(late, vips, agree=False, differences=differences(late.decision, program))

    def _model(self, cpu: int) -> Answer:
        vips, flow, at = self._vips(), self.question.flow, now()
        if not vips:
            return Answer(self._process(FlowState(), at, cpu), Remembered(), at, cpu)
        remembered = self.plane.recall(flow, vips[0].id)
        at = now()
        return Answer(self._process(state_of(flow, vips[0].id, remembered, cpu), at, cpu), remembered, at, cpu)

    def _process(self, state: FlowState, at: int, cpu: int) -> Decision:
        return Reference(self.config, state).process(frame_of(self.question), self.ifindex, at, cpu)

    def _vips(self) -> list[VipEntry]:
        return matching(self.config, self.question.flow)


def _said(answer: Answer) -> tuple[object, ...]:
    decision = answer.decision
    return decision.verdict, decision.frame, decision.reason, decision.backend_id, decision.has_record
