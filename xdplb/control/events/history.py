# SPDX-License-Identifier: Apache-2.0
"""Events of the events themselves: whether they are kept."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["EventsKeptAgain", "EventsLost", "EventsNotKept"]


@dataclass(frozen=True, slots=True)
class EventsNotKept(Event):
    """Events cannot be written to their file. They wait in memory, up to a number, and are in the log as ever."""

    KIND = "events_not_kept"
    TITLE = "events are not kept"
    LEVEL = Level.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class EventsKeptAgain(Event):
    """Events can be written again. `lost` are those that did not fit into memory meanwhile: only the log has them."""

    KIND = "events_kept_again"
    TITLE = "events are kept again"
    LEVEL = Level.NOTICE
    lost: int


@dataclass(frozen=True, slots=True)
class EventsLost(Event):
    """Events that were kept are no longer there, since their file was removed or cannot be read."""

    KIND = "events_lost"
    TITLE = "kept events are lost"
    LEVEL = Level.WARNING
    reason: str
