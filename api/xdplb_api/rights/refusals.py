# SPDX-License-Identifier: Apache-2.0
"""Events of refused requests: each peer's first at once, those of a minute after it in one, so that none floods.

Whoever has many addresses, as each user of a host has on its loopback, has many first ones. So of each kind there are
60 at once and then one in three minutes: in the thirty days that events are kept, these are a few of them all.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from xdplb.control.events import Actor, AuthenticationFailed, RequestForbidden, Say
from xdplb.model.role import Role

__all__ = ["Refusals"]

_QUIET_SECONDS = 60.0
_MOST_PEERS = 1024
_AT_ONCE = 60
_AFTER_SECONDS = 180.0
"""Of all peers together, for each kind of event."""


@dataclass(slots=True)
class _Told:
    at: float
    untold: int = 0


@dataclass(slots=True)
class _Allowance:
    """How many more events there may be. What is used comes back with time."""

    at: float
    left: float = _AT_ONCE

    def take(self, now: float) -> bool:
        """Use one; return whether there was one."""
        self.left = min(_AT_ONCE, self.left + (now - self.at) / _AFTER_SECONDS)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Refusals:
    """Says what was refused. In one thread only."""

    def __init__(self, say: Say, now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now = say, now
        self._told: OrderedDict[Hashable, _Told] = OrderedDict()
        self._unknown, self._forbidden = _Allowance(now()), _Allowance(now())
        self.counts = {"unauthenticated": 0, "forbidden": 0}
        """How often it happened since the start, by the code of the problem."""

    def unknown(self, peer: Actor, host: str, reason: str) -> None:
        """Say that a request had no right token or certificate."""
        self.counts["unauthenticated"] += 1
        if (times := self._times(("unknown", host), self._unknown)) is not None:
            self._say(AuthenticationFailed(peer, reason, times))

    def forbidden(self, actor: Actor, request: str, needed: Role) -> None:
        """Say that somebody asked for what needs another role."""
        self.counts["forbidden"] += 1
        who = (actor.uid, actor.token, actor.certificate)
        if (times := self._times((needed, *who), self._forbidden)) is not None:
            self._say(RequestForbidden(actor, request, needed.value, times))

    def no_role(self, peer: Actor) -> None:
        """Say that a process connected to the Unix socket that has no role."""
        self.forbidden(peer, "any request", Role.READ)

    def _times(self, key: Hashable, allowance: _Allowance) -> int | None:
        """Return how often it happened since it was said last, None if it is not to be said yet."""
        now = self._now()
        told = self._told.get(key)
        if told is not None and now - told.at < _QUIET_SECONDS:
            told.untold += 1
            return None
        if not allowance.take(now):
            if told is not None:
                told.untold += 1
            return None
        times = 1 if told is None else told.untold + 1
        self._told[key] = _Told(now)
        self._told.move_to_end(key)
        if len(self._told) > _MOST_PEERS:
            self._told.popitem(last=False)
        return times
