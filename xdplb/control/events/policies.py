# SPDX-License-Identifier: Apache-2.0
"""Events of the rule by which a VIP's backends serve, and of slow start."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["PolicyChanged", "SlowStartBegan", "SlowStartEnded"]


@dataclass(frozen=True, slots=True)
class PolicyChanged(Event):
    """Another rule says who serves of a VIP: panic, fail-open and the like, or backups, began or ended.

    `serving` of `asked` primary backends can serve by themselves.
    """

    KIND = "policy"
    TITLE = "policy"
    LINES = 2000  # a host that dies may be a backend of a thousand VIPs
    vip: str
    policy: str
    backups: bool
    serving: int
    asked: int
    reason: str

    @property
    def level(self) -> Level:
        """That all is as it should be again is no warning."""
        return Level.WARNING if self.policy != "none" or self.backups else Level.NOTICE


@dataclass(frozen=True, slots=True)
class SlowStartBegan(Event):
    """A backend that came up gets its share in steps; `owed_slots` of the VIP's table go to it in the later ones."""

    KIND = "slow_start"
    TITLE = "slow start"
    LEVEL = Level.NOTICE
    vip: str
    backend: str
    seconds: int
    owed_slots: int


@dataclass(frozen=True, slots=True)
class SlowStartEnded(Event):
    """A backend that came up has its whole share, or does not serve any more."""

    KIND = "slow_start_ended"
    TITLE = "slow start ended"
    LEVEL = Level.NOTICE
    vip: str
    backend: str
    reason: str
