"""The program against the reference model: the same configuration, the same packets, and whatever differs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.fuzz.clock import now
from tests.fuzz.disturb import disturb
from tests.fuzz.frames import Frames
from tests.fuzz.kernel import Kernel
from tests.fuzz.mirror import Mirror
from tests.fuzz.profiles import INGRESS
from tests.fuzz.report import describe, tell_entries, tell_outcome
from tests.fuzz.worlds import random_config
from xdplb.reference.process import Outcome, Reference
from xdplb.reference.state import State

__all__ = ["Difference", "Run", "World", "compare"]

BATCH = 400
"""Packets between two looks at all maps."""


@dataclass(frozen=True)
class Run:
    """What can be run again: the profile of the program, the seed, how many packets."""

    profile: str
    seed: int
    packets: int


class Difference(AssertionError):  # noqa: N818 - the difference is what is looked for
    """The program and the model do not agree; the text says about what."""


def compare(kernel: Kernel, run: Run, *, closely: bool = False) -> State:
    """Send the packets of a run through both; raise Difference, or return the model's state in the end.

    `closely` looks at all maps after each packet, to find the one that is behind a difference.
    """
    world = World(kernel, random.Random(run.seed))
    batch = 1 if closely else BATCH
    for number in range(run.packets):
        try:
            world.step()
            if number % batch == batch - 1 or number == run.packets - 1:
                world.compare_state()
        except Difference as difference:
            difference.add_note(f"{run}, packet {number}; the last frame: {describe(world.frame)}")
            raise
    return world.reference.state


class World:
    """The program and the model, set up alike. The process must be bound to one CPU."""

    def __init__(self, kernel: Kernel, chance: random.Random) -> None:
        self._kernel, self._chance = kernel, chance
        self._config = random_config(chance, kernel.features)
        self._frames = Frames(chance, self._config)
        self.reference = Reference(self._config, State())
        self._mirror = Mirror(kernel, self.reference.state, kernel.cpu)
        self.frame = b""
        kernel.install(self._config)

    def step(self) -> None:
        """Change something behind the packets' back, now and then; then send one."""
        if self._chance.random() < 0.25:
            disturb(self._chance, self._config, self._mirror, self._frames.recent, now())
        self.frame = self._frames.make()
        before = now()
        verdict, out = self._kernel.run(self.frame)
        after = now()
        outcome = self.process(before)
        if after != before:
            outcome = self._at_its_time(outcome, self.process(after), (verdict, out))
        if (verdict, out) != (outcome.verdict, outcome.frame):
            counted = self._mirror.new_reasons()
            raise Difference(tell_outcome(outcome, verdict, out, counted))
        self.reference.state.apply(outcome.changes, self._kernel.cpu)

    def process(self, at: int) -> Outcome:
        """Return what the model says of the last frame, at this time."""
        return self.reference.process(self.frame, INGRESS, at, self._kernel.cpu)

    def compare_state(self) -> None:
        """All maps hold what the model's state says."""
        for name, found, expected in self._mirror.everything(now()):
            if found != expected:
                raise Difference(f"{name}: {tell_entries(found, expected)}")

    def _at_its_time(self, early: Outcome, late: Outcome, came_out: tuple[int, bytes]) -> Outcome:
        """Return the outcome at the time that the program read; the clock went on before or after that."""
        for outcome in (early, late):
            happened = all(found == expected for _, found, expected in self._mirror.changed(outcome.changes))
            if came_out == (outcome.verdict, outcome.frame) and happened:
                return outcome
        # The clock went on more than once: what the maps say is taken, where the rest agrees.
        outcome = early if came_out == (early.verdict, early.frame) else late
        self._mirror.adopt(outcome.changes)
        return outcome
