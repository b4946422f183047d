# SPDX-License-Identifier: Apache-2.0
"""Whether the health checks are run in time. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NO_CHECKS", "Standing", "not_run_sentence"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How the checks stand: how many there are, and how many have had no result for longer than they should.

    Equal checks of the same address and port count once. `probes` are under way, of `most_probes` at a time. `reason`
    says why checks are overdue, as a sentence; "" if none is.
    """

    checks: int
    overdue: int
    probes: int
    most_probes: int
    reason: str


NO_CHECKS = Standing(0, 0, 0, 0, "")
"""How they stand where nothing is checked."""


def not_run_sentence(overdue: int, checks: int, seconds: float, cause: str) -> str:
    """Return the sentence about checks that have had no result for up to `seconds`."""
    which = "the only health check has" if checks == 1 else f"{overdue} of {checks} health checks have"
    return f"{which} had no result for {seconds:.0f} s, so a backend that fails is not noticed: {cause}"
