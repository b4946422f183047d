# SPDX-License-Identifier: Apache-2.0
"""Events of passive health: what the handshakes of clients show of backends."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["BackendDiffers", "BackendEjected", "BackendNotEjected", "BackendReturned", "HandshakesNotRead"]


@dataclass(frozen=True, slots=True)
class BackendEjected(Event):
    """A backend gets no new connections for now, since it leaves handshakes unanswered."""

    KIND = "ejected"
    TITLE = "backend ejected"
    LEVEL = Level.WARNING
    vip: str
    backend: str
    seconds: int
    times: int
    reason: str


@dataclass(frozen=True, slots=True)
class BackendReturned(Event):
    """An ejection is over, or was given up."""

    KIND = "ejection_over"
    TITLE = "backend no longer ejected"
    LEVEL = Level.NOTICE
    vip: str
    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class BackendNotEjected(Event):
    """A backend would be ejected, but the VIP only observes, or too many are out already."""

    KIND = "not_ejected"
    TITLE = "backend would be ejected"
    LEVEL = Level.WARNING
    vip: str
    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class BackendDiffers(Event):
    """A backend's handshakes are clearly slower than those of its peers, or more of them are unanswered."""

    KIND = "backend_differs"
    TITLE = "backend differs from its peers"
    LEVEL = Level.WARNING
    vip: str
    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class HandshakesNotRead(Event):
    """The sampled handshakes could not be read."""

    KIND = "handshakes_unread"
    TITLE = "handshakes not read"
    LEVEL = Level.ERROR
    error: str
