# SPDX-License-Identifier: Apache-2.0
"""A run: a random configuration, random packets for it, and whatever differs between the program and the model."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.fuzz.both import Both, Difference
from tests.fuzz.clock import now
from tests.fuzz.disturb import disturb
from tests.fuzz.frames import Frames
from tests.fuzz.kernel import Kernel
from tests.fuzz.report import describe
from tests.fuzz.worlds import random_config
from xdplb.reference.flow_state import FlowState

__all__ = ["Run", "compare"]

BATCH = 400
"""Packets between two looks at all maps."""

DISTURBED = 0.25
"""How often something changes behind the packets' back."""


@dataclass(frozen=True)
class Run:
    """What can be run again: the profile of the program, the seed, how many packets."""

    profile: str
    seed: int
    packets: int


def compare(kernel: Kernel, run: Run, *, closely: bool = False, explained: float = 0.0) -> FlowState:
    """Send the packets of a run through both; raise Difference, or return the model's state in the end.

    `closely` looks at all maps after each packet, to find the one that is behind a difference. Of the packets, the part
    `explained`, 0 to 1, is explained before it is sent.
    """
    chance = random.Random(run.seed)
    config = random_config(chance, kernel.features)
    frames = Frames(chance, config)
    kernel.install(config)
    both = Both(kernel, config)
    batch = 1 if closely else BATCH
    with kernel.routed():
        for number in range(run.packets):
            if chance.random() < DISTURBED:
                disturb(chance, config, both.mirror, frames.recent, now())
            frame = frames.make()
            try:
                if explained and number % round(1 / explained) == 0:
                    both.explain(frame)
                both.send(frame)
                if number % batch == batch - 1 or number == run.packets - 1:
                    both.compare_state()
            except Difference as difference:
                difference.add_note(f"{run}, packet {number}; the last frame: {describe(frame)}")
                raise
    return both.state
