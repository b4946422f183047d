"""The weights of backends as their agents want them. Pure.

Weights are whole numbers, and most are 1, so where agents may want a part of one, those of all backends of the VIP are
counted in parts. That alone moves no slot, since only their relations count.
"""

from __future__ import annotations

from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.model.advice import PARTS, Advice
from xdplb.model.backend import KnownHealth

__all__ = ["advice_for", "effective_weight", "scale_of", "weight_of"]


def scale_of(vip: BoundVip) -> int:
    """Return in how many parts the weights of a VIP's backends are counted."""
    return PARTS if vip.has_agents else 1


def weight_of(vip: BoundVip, bound: BoundBackend, known: KnownHealth | None) -> int:
    """Return the weight of a backend, in parts, of which this is known.

    One that is to get nothing new keeps its weight in the table, so that its slots are still there when it is back.
    """
    configured = bound.backend.weight
    if not vip.has_agents:
        return configured
    advice = advice_for(bound, known)
    if advice is None or not (parts := advice.parts_of(configured)):
        return configured * PARTS
    return parts


def effective_weight(vip: BoundVip, bound: BoundBackend, known: KnownHealth | None) -> float:
    """Return the weight that a backend has now, which may be a part of a whole number."""
    advice = advice_for(bound, known) if vip.has_agents else None
    return float(bound.backend.weight) if advice is None else advice.parts_of(bound.backend.weight) / PARTS


def advice_for(bound: BoundBackend, known: KnownHealth | None) -> Advice | None:
    """Return what counts of what the agent of a backend said; the operator may have said that it is not checked."""
    return known.advice if known is not None and bound.backend.checked else None
