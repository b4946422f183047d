# SPDX-License-Identifier: Apache-2.0
"""Events of the program that forwards packets."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["ProgramKept", "ProgramRolledBack", "SwapNotWatched"]


@dataclass(frozen=True, slots=True)
class ProgramKept(Event):
    """The program of a newer version was watched for some seconds, and nothing became worse."""

    KIND = "program_kept"
    TITLE = "new program kept"
    LEVEL = Level.NOTICE
    seconds: float
    packets: int
    packets_before: int


@dataclass(frozen=True, slots=True)
class ProgramRolledBack(Event):
    """Something became worse with the program of a newer version: the one before is in use again."""

    KIND = "program_rolled_back"
    TITLE = "new program rolled back, and the one before is in use again"
    LEVEL = Level.ERROR
    reason: str


@dataclass(frozen=True, slots=True)
class SwapNotWatched(Event):
    """The new program cannot be watched (any more); it stays. The next start judges it by what it did until then."""

    KIND = "swap_not_watched"
    TITLE = "new program not watched"
    LEVEL = Level.ERROR
    error: str
