# SPDX-License-Identifier: Apache-2.0
"""What became of the packets of some seconds: how many were sent, passed, dropped and answered, by reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SENT", "UNCOUNTED", "Span"]

SENT = "sent"
UNCOUNTED = "uncounted"
"""Packets that the program saw and counted nowhere: it should count each of them once."""


@dataclass(frozen=True, slots=True)
class Span:
    """The packets of `seconds`: by reason, SENT and UNCOUNTED."""

    seconds: float
    packets: Mapping[str, int]

    @property
    def total(self) -> int:
        """All packets."""
        return sum(self.packets.values())

    def rate(self, name: str) -> float:
        """Return how many of these came in a second."""
        return self.packets.get(name, 0) / self.seconds if self.seconds > 0 else 0.0

    def share(self, name: str) -> float:
        """Return which part of all packets these are."""
        return self.packets.get(name, 0) / self.total if self.total else 0.0
