# SPDX-License-Identifier: Apache-2.0
"""The program and the reference model, set up alike: each frame goes through both, and nothing may differ."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.fuzz.clock import between, now
from tests.fuzz.kernel import Kernel
from tests.fuzz.mirror import Mirror
from tests.fuzz.profiles import INGRESS
from tests.fuzz.report import tell_decision, tell_entries
from xdplb.control.explain.differences import differences
from xdplb.reference.config import Config
from xdplb.reference.decision import Decision
from xdplb.reference.flow_state import FlowState
from xdplb.reference.process import Reference

__all__ = ["Both", "Difference"]


class Difference(AssertionError):  # noqa: N818 - the difference is what is looked for
    """The program and the model do not agree; the text says about what."""


class Both:
    """A kernel that has this configuration installed, and the model. The process must be bound to one CPU."""

    def __init__(self, kernel: Kernel, config: Config) -> None:
        self._kernel = kernel
        self._reference = Reference(config, FlowState())
        self.mirror = Mirror(kernel, self._reference.state, kernel.cpu)
        self._precise = 0
        """What the fine clock said when the program noted the last packet, as the maps have it, if it noted one."""

    @property
    def state(self) -> FlowState:
        """The model's state."""
        return self._reference.state

    def send(self, frame: bytes) -> None:
        """Send a frame through both; Difference where the verdict or a byte differs."""
        before, began = now(), time.monotonic_ns()
        came_out = self._kernel.run(frame)
        after = now()
        self._precise = max(began, self._kernel.noted_at())
        decision = self._process(frame, before)
        if after != before:
            decision = self._at_its_time([self._process(frame, at) for at in between(before, after)], came_out)
        if came_out != (decision.verdict, decision.frame):
            raise Difference(tell_decision(decision, *came_out, self.mirror.new_reasons()))
        self.state.apply(decision.effects, self._kernel.cpu)

    def explain(self, frame: bytes) -> None:
        """Ask the program that explains about a frame; Difference where it does not say what the model says.

        It changes nothing: what it might is seen when the maps are compared.
        """
        before = now()
        decision = self._kernel.plane.explain(frame, INGRESS)
        told = [differences(self._process(frame, at), decision) for at in (before, now())]
        if all(told):
            raise Difference(f"explained otherwise: {told[0]}")

    def compare_state(self) -> None:
        """Look at all maps; Difference where one does not hold what the model's state says."""
        for name, found, expected in self.mirror.everything(now()):
            if found != expected:
                raise Difference(f"{name}: {tell_entries(found, expected)}")

    def _process(self, frame: bytes, at: int) -> Decision:
        return self._reference.process(frame, INGRESS, at, self._kernel.cpu, precise=self._precise)

    def _at_its_time(self, decisions: Sequence[Decision], came_out: tuple[int, bytes]) -> Decision:
        """Return the decision at the time that the program read, while the clock went on."""
        alike = [decision for decision in decisions if self._came_out_as(decision, came_out)]
        for decision in alike:
            if all(found == expected for _, found, expected in self.mirror.changed(decision.effects)):
                return decision
        # It read a time that is not known to the nanosecond: what the maps say is taken, where the rest agrees.
        decision = (alike or decisions)[0]
        self.mirror.adopt(decision.effects)
        return decision

    def _came_out_as(self, decision: Decision, came_out: tuple[int, bytes]) -> bool:
        """Whether the program returned this, and counted its reason."""
        reasons = [] if decision.reason is None else [decision.reason.value]
        return came_out == (decision.verdict, decision.frame) and self.mirror.new_reasons() == reasons
