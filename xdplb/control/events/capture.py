# SPDX-License-Identifier: Apache-2.0
"""Events of captures."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.actor import Actor
from xdplb.control.events.base import Event, Level

__all__ = [
    "CaptureBegan",
    "CaptureEnded",
    "CaptureStuck",
]


@dataclass(frozen=True, slots=True)
class CaptureBegan(Event):
    """A capture started, of packets to this VIP and from this client, None for any."""

    KIND = "capture_started"
    TITLE = "capture started"
    LEVEL = Level.NOTICE
    actor: Actor
    vip: str | None
    client: str | None


@dataclass(frozen=True, slots=True)
class CaptureEnded(Event):
    """The capture ended, and the program was restored."""

    KIND = "capture_ended"
    TITLE = "capture ended"
    LEVEL = Level.NOTICE


@dataclass(frozen=True, slots=True)
class CaptureStuck(Event):
    """The capture ended, but the program could not be restored."""

    KIND = "capture_stuck"
    TITLE = "capture ended, but the program still hands out packets"
    LEVEL = Level.ERROR
    error: str
