# SPDX-License-Identifier: Apache-2.0
"""Events of the notifications: whether commands and webhooks get the events that they are for."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["NotifyFailing", "NotifyRefused", "NotifyWorks"]


@dataclass(frozen=True, slots=True)
class NotifyFailing(Event):
    """A command or webhook does not get events. Said once, until it works again."""

    KIND = "notify_failing"
    TITLE = "events are not handed on"
    LEVEL = Level.WARNING
    target: str
    error: str


@dataclass(frozen=True, slots=True)
class NotifyWorks(Event):
    """A command or webhook gets events again. `dropped` are those that it has not got meanwhile."""

    KIND = "notify_works"
    TITLE = "events are handed on again"
    LEVEL = Level.NOTICE
    target: str
    dropped: int


@dataclass(frozen=True, slots=True)
class NotifyRefused(Event):
    """The file that says who gets events was read again and cannot be used: what was read before stays."""

    KIND = "notify_refused"
    TITLE = "the notify file is refused"
    LEVEL = Level.ERROR
    file: str
    error: str
