# SPDX-License-Identifier: Apache-2.0
"""Differences that a version is meant to make. An upgrade over it is not refused for them; they are logged.

A line here is for one change, and is removed once nobody upgrades over that version any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .comparing import Difference
from .naming import name_of

__all__ = ["INTENDED", "Intended"]


@dataclass(frozen=True, slots=True)
class Intended:
    """Packets that had one result and now have another: a reason's name, or `sent`. `why` is for the log.

    With `only`, only those frames of which it is true. If both results are the same, the frame may differ.
    """

    old: str
    new: str
    why: str
    only: Callable[[bytes], bool] = lambda _: True

    def covers(self, difference: Difference) -> bool:
        """Whether this is the difference."""
        told = (name_of(difference.old), name_of(difference.new))
        return told == (self.old, self.new) and self.only(difference.sample.frame)


INTENDED: tuple[Intended, ...] = ()
