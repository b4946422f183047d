# SPDX-License-Identifier: Apache-2.0
"""What the peers' traffic is counted by. Written by one thread; others read numbers that may be a moment old."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["REASONS", "PeerCounts"]

REASONS = (
    "forged",
    "malformed",
    "own",
    "replay",
    "too_many",
    "unknown_kind",
    "unknown_sender",
    "version",
    "wrong_key",
)
"""Why datagrams are refused: the labels of a metric, which never change."""


@dataclass(slots=True)
class PeerCounts:
    """Since the daemon started. `records_sent` counts each once for every peer that it went to."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    records_sent: int = 0
    records_received: int = 0
    records_dropped: int = 0
    """There were more at once than are sent."""
    hints_sent: int = 0
    hints_received: int = 0
    gaps: int = 0
    """Datagrams that never came."""
    pulls: Counter[str] = field(default_factory=Counter)
    """By result: done or failed."""
