# SPDX-License-Identifier: Apache-2.0
"""The weights of backends as their agents want them. Pure.

Weights are whole numbers, and most are 1, so where agents may want a part of one, those of all backends of the VIP are
counted in parts. That alone moves no slot, since only their relations count.
"""

from __future__ import annotations

from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.model.advice import PARTS
from xdplb.model.backend import KnownHealth

__all__ = ["effective_weight", "weight_of"]


def weight_of(vip: BoundVip, bound: BoundBackend, known: KnownHealth | None) -> int:
    """Return the weight of a backend, in parts, of which this is known.

    One that is to get nothing new keeps its weight in the table, so that its slots are still there when it is back.
    """
    configured = bound.backend.weight
    if not vip.has_agents:
        return configured
    advice = None if known is None else known.advice
    if advice is None or not (parts := advice.parts_of(configured)):
        return configured * PARTS
    return parts


def effective_weight(vip: BoundVip, bound: BoundBackend, known: KnownHealth) -> float:
    """Return the weight that a backend has now, which may be a part of a whole number."""
    advice = known.advice if vip.has_agents else None
    return float(bound.backend.weight) if advice is None else advice.parts_of(bound.backend.weight) / PARTS
