# SPDX-License-Identifier: Apache-2.0
"""Events of the daemon and of the program that it has on the NICs."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["DaemonStarted", "DaemonStopped", "ProgramSwapped", "TookOver"]


@dataclass(frozen=True, slots=True)
class DaemonStarted(Event):
    """The daemon balances on these NICs and answers on `api`. `last_run` says how the one before it ended.

    It is `stopped`, `killed` (by a signal, a crash or a loss of power), or `none` if no other is known.
    """

    KIND = "daemon_started"
    TITLE = "daemon started"
    LEVEL = Level.NOTICE
    version: str
    pid: int
    nics: str
    api: str
    generation: int
    last_run: str

    def line(self) -> str:
        """Return the log line."""
        killed = "; the daemon before it was killed" if self.last_run == "killed" else ""
        return f"balancing on {self.nics}; the API is on {self.api}{killed}"


@dataclass(frozen=True, slots=True)
class DaemonStopped(Event):
    """The daemon has stopped in order; `reason` says who made it, and what becomes of the program on the NICs."""

    KIND = "daemon_stopped"
    TITLE = "daemon stopped"
    LEVEL = Level.NOTICE
    reason: str

    def line(self) -> str:
        """Return the log line."""
        return self.reason


@dataclass(frozen=True, slots=True)
class TookOver(Event):
    """The daemon goes on with maps that carried traffic before it started, as they were at `generation`."""

    KIND = "took_over"
    TITLE = "maps taken over"
    LEVEL = Level.NOTICE
    generation: int | None
    vips: int
    pins: str


@dataclass(frozen=True, slots=True)
class ProgramSwapped(Event):
    """A program that has these features, too, was compiled and swapped in under the traffic."""

    KIND = "program_swapped"
    TITLE = "program compiled and swapped"
    LEVEL = Level.NOTICE
    features: str
    seconds: float
