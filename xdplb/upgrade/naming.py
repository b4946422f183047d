# SPDX-License-Identifier: Apache-2.0
"""What became of a packet, in words."""

from __future__ import annotations

from xdplb.dataplane.libbpf import XDP_REDIRECT, XDP_TX
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.shadow import PacketResult
from xdplb.dataplane.spans import SENT, UNCOUNTED

__all__ = ["in_words", "name_of"]

_VERDICTS = ("aborted", "drop", "pass", "sent back by the NIC it came in by", "sent by another NIC")
_NAMES = {reason.number: reason.name for reason in REASONS}


def name_of(result: PacketResult) -> str:
    """Return the reason's name; or `sent`, or `uncounted` if it was neither sent nor counted."""
    if result.reason:
        return _reason(result)
    return SENT if result.verdict in {XDP_TX, XDP_REDIRECT} else UNCOUNTED


def in_words(result: PacketResult) -> str:
    """Return the verdict, the reason and the length."""
    verdict = _VERDICTS[result.verdict] if result.verdict < len(_VERDICTS) else f"verdict {result.verdict}"
    return f"{verdict}{f' ({_reason(result)})' if result.reason else ''}, {len(result.frame)} bytes"


def _reason(result: PacketResult) -> str:
    return _NAMES.get(result.reason, f"reason_{result.reason}")
