# SPDX-License-Identifier: Apache-2.0
"""Events of the state on disk."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = [
    "StateNotWritable",
    "StateRestored",
    "StateWritable",
]


@dataclass(frozen=True, slots=True)
class StateNotWritable(Event):
    """The state cannot be written: changes are refused until it can."""

    KIND = "state_not_writable"
    TITLE = "state not writable"
    LEVEL = Level.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class StateRestored(Event):
    """What is stored was removed while the daemon ran, and has been written again; `what` became of it."""

    KIND = "state_restored"
    TITLE = "state written again"
    LEVEL = Level.WARNING
    what: str


@dataclass(frozen=True, slots=True)
class StateWritable(Event):
    """The state can be written again."""

    KIND = "state_writable"
    TITLE = "state writable again"
    LEVEL = Level.NOTICE
