"""What became of a packet, in a word."""

from __future__ import annotations

from xdplb.dataplane.libbpf import XDP_REDIRECT, XDP_TX
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.shadow import Outcome
from xdplb.dataplane.spans import SENT, UNCOUNTED

__all__ = ["result"]

_NAMES = {reason.number: reason.name for reason in REASONS}


def result(outcome: Outcome) -> str:
    """Return the reason's name; `sent`, or `uncounted` if it was neither sent nor counted."""
    if outcome.reason:
        return _NAMES.get(outcome.reason, f"reason_{outcome.reason}")
    return SENT if outcome.verdict in {XDP_TX, XDP_REDIRECT} else UNCOUNTED
