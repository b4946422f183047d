"""Events of what the kernel holds and another process changed, and of what could not be brought about."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = [
    "MapsRestored",
    "PinsNotRestored",
    "PinsRestored",
    "ReconcileFailed",
    "VerifyFailed",
]


@dataclass(frozen=True, slots=True)
class MapsRestored(Event):
    """A map did not hold what xdplb wrote to it; that was written again."""

    KIND = "map_restored"
    TITLE = "map changed by another process, and written again"
    LEVEL = Level.ERROR
    map: str


@dataclass(frozen=True, slots=True)
class VerifyFailed(Event):
    """The maps could not be read to see whether they hold what was written."""

    KIND = "verify_failed"
    TITLE = "maps cannot be verified"
    LEVEL = Level.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class ReconcileFailed(Event):
    """The maps could not be brought to the desired state; it is retried."""

    KIND = "reconcile_failed"
    TITLE = "reconcile failed"
    LEVEL = Level.ERROR
    retry_seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class PinsRestored(Event):
    """Another process has removed these pins. They are there again, and packets were forwarded meanwhile."""

    KIND = "pins_restored"
    TITLE = "pins restored"
    LEVEL = Level.WARNING
    count: int
    names: str


@dataclass(frozen=True, slots=True)
class PinsNotRestored(Event):
    """Pins were removed and cannot be made again. Packets are forwarded as long as the daemon runs, and no longer."""

    KIND = "pins_not_restored"
    TITLE = "pins not restored"
    LEVEL = Level.ERROR
    reason: str
