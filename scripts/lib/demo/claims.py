# SPDX-License-Identifier: Apache-2.0
"""Checks on requests that several steps share."""

from __future__ import annotations

from collections.abc import Sequence

from .screen import Screen
from .traffic import Request, chi_squared, failures, spread
from .world import World

__all__ = ["expect_none_failed", "expect_spread", "print_spread"]

LIMIT = 30.7
"""If four counts follow the right shares, chi-squared exceeds this only once in a million times."""


def expect_none_failed(screen: Screen, requests: Sequence[Request], claim: str) -> None:
    """Check that there were requests and that none failed."""
    failed = failures(requests)
    seen = f"{len(failed)} of {len(requests)} failed, such as: {failed[0].error}" if failed else "no request was made"
    screen.expect(bool(requests) and not failed, claim, seen)


def expect_spread(world: World, screen: Screen, requests: Sequence[Request]) -> None:
    """Check that connections follow the weights, as far as chance allows."""
    print_spread(world, screen, requests)
    distance = chi_squared(spread(requests), {backend.name: backend.weight for backend in world.backends})
    claim = f"connections follow the weights (chi-squared {distance:.1f}, limit {LIMIT})"
    screen.expect(bool(requests) and distance <= LIMIT, claim)


def print_spread(world: World, screen: Screen, requests: Sequence[Request]) -> None:
    """Print how many connections each backend got, and how many to expect from its share."""
    counts, states = spread(requests), world.states()
    total = sum(counts.values())
    screen.table(
        ["backend", "address", "forward", "weight", "state", "share", "expected", "connections"],
        [
            [
                backend.name,
                backend.address,
                backend.forward,
                backend.weight,
                state.word,
                f"{state.share:.4f}",
                f"{total * state.share:.0f}",
                counts[backend.name],
            ]
            for backend in world.backends
            for state in [states[backend.name]]
        ],
    )
