# SPDX-License-Identifier: Apache-2.0
"""Events of health checks."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = [
    "AgentSaid",
    "BackendHeld",
    "BackendNotHeld",
    "CheckBroke",
    "ChecksNotRun",
    "ChecksRunAgain",
    "HealthChanged",
]


@dataclass(frozen=True, slots=True)
class HealthChanged(Event):
    """A backend's health changed."""

    KIND = "health"
    TITLE = "health"
    LINES = 2000  # a host that dies may be a backend of a thousand VIPs
    vip: str
    backend: str
    health: str
    reason: str

    @property
    def level(self) -> Level:
        """A backend that fails is a warning; that it is up is not."""
        return Level.WARNING if self.health == "down" else Level.NOTICE


@dataclass(frozen=True, slots=True)
class AgentSaid(Event):
    """The agent of a backend, or a command that checks it, wants another weight, or to drain, and that counts now."""

    KIND = "agent"
    TITLE = "agent"
    LEVEL = Level.NOTICE
    LINES = 200
    vip: str
    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class BackendHeld(Event):
    """A backend went down so often that it is held down for so many seconds, and longer if it goes down again."""

    KIND = "flapping"
    TITLE = "flapping backend is held down"
    LEVEL = Level.WARNING
    LINES = 200
    vip: str
    backend: str
    falls: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class BackendNotHeld(Event):
    """A backend that flapped is held down no more: it serves if its checks pass. `reason` is why."""

    KIND = "flapping_over"
    TITLE = "backend is held down no more"
    LEVEL = Level.NOTICE
    LINES = 200
    vip: str
    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckBroke(Event):
    """A check could not be run on this host, because of an unexpected error."""

    KIND = "check_broken"
    TITLE = "check failed to run"
    LEVEL = Level.ERROR
    backend: str
    port: int
    error: str


@dataclass(frozen=True, slots=True)
class ChecksNotRun(Event):
    """Checks have had no result for too long, since this host cannot run them: a backend that fails is not noticed."""

    KIND = "checks_stopped"
    TITLE = "health checks cannot be run"
    LEVEL = Level.ERROR
    reason: str


@dataclass(frozen=True, slots=True)
class ChecksRunAgain(Event):
    """All checks have had a result in time again."""

    KIND = "checks_resumed"
    TITLE = "health checks run again"
    LEVEL = Level.NOTICE
    seconds: float
