"""What became of a packet, in words."""

from __future__ import annotations

from xdplb.dataplane.libbpf import XDP_REDIRECT, XDP_TX
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.shadow import Outcome
from xdplb.dataplane.spans import SENT, UNCOUNTED

__all__ = ["in_words", "result"]

_VERDICTS = ("aborted", "drop", "pass", "sent back by the NIC it came in by", "sent by another NIC")
_NAMES = {reason.number: reason.name for reason in REASONS}


def result(outcome: Outcome) -> str:
    """Return the reason's name; or `sent`, or `uncounted` if it was neither sent nor counted."""
    if outcome.reason:
        return _reason(outcome)
    return SENT if outcome.verdict in {XDP_TX, XDP_REDIRECT} else UNCOUNTED


def in_words(outcome: Outcome) -> str:
    """Return the verdict, the reason and the length."""
    verdict = _VERDICTS[outcome.verdict] if outcome.verdict < len(_VERDICTS) else f"verdict {outcome.verdict}"
    return f"{verdict}{f' ({_reason(outcome)})' if outcome.reason else ''}, {len(outcome.frame)} bytes"


def _reason(outcome: Outcome) -> str:
    return _NAMES.get(outcome.reason, f"reason_{outcome.reason}")
