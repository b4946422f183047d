# SPDX-License-Identifier: Apache-2.0
"""Events of drains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xdplb.control.events.base import Event, Level
from xdplb.control.state.certificate import Certificate

__all__ = [
    "DrainChanged",
]


@dataclass(frozen=True, slots=True)
class DrainChanged(Event):
    """A drain started, or no connection or no time is left, or it was cancelled.

    `flows` are the connections left, None if not known. All but the start have the certificate, of which the log line
    has the numbers that matter most.
    """

    KIND = "drain"
    TITLE = "drain"
    LINES = 1000
    vip: str
    backend: str
    state: str
    flows: int | None
    certificate: Certificate | None = None

    @property
    def level(self) -> Level:
        """A drain that ran out of time is a warning: connections are left."""
        return Level.WARNING if self.state == "timed_out" else Level.NOTICE

    def line(self) -> str:
        """Return the log line."""
        if self.certificate is None:
            return Event.line(self)
        said = self.certificate.data()
        shown = ((name, said[name]) for name in ("seen", "ended", "handed_over", "cut", "silent_at_most", "seconds"))
        numbers = " ".join(f"{name}={value}" for name, value in shown if value is not None)
        return f"{Event.line(replace(self, certificate=None))} {numbers}"
