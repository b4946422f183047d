# SPDX-License-Identifier: Apache-2.0
"""Turns: how many requests are worked on at once, and which of those that wait is next."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from starlette.types import Message, Scope, Send

from .connections import Connection, connection_of

__all__ = ["TURN", "Turn", "Turns"]

TURN = "turn"
"""Where the scope of a request has its turn."""

_UNREAD_SECONDS = 1.0
"""After this time without reading, a client makes room for another request that waits."""


class Turn:
    """The turn of one request of a client, until `end`. `connection` is None if there is no real one."""

    def __init__(self, turns: Turns, client: str, connection: Connection | None) -> None:
        self._turns, self.client, self._connection = turns, client, connection
        self._sending_since: float | None = None
        self._has_ended = False

    def end(self) -> None:
        """Let the next request have its turn."""
        if not self._has_ended:
            self._has_ended = True
            self._turns.ended(self)

    async def again(self) -> bool:
        """Wait for another turn after the end; return whether there was one in time."""
        self._has_ended = not await self._turns.wait(self)
        return not self._has_ended

    def unread_for(self, now: float) -> float:
        """Return for how many seconds its client has not read on."""
        return 0.0 if self._sending_since is None or self._connection is None else now - self._sending_since

    def break_off(self) -> None:
        """Close the connection. What is left of the answer is not sent any more, and the turn ends."""
        if self._connection is not None:
            self._connection.yields()

    def sending(self, send: Send) -> Send:
        """Return a `send` that notes since when the client has not read on."""

        async def sent(message: Message) -> None:
            self._sending_since = time.monotonic()
            await send(message)
            self._sending_since = None

        return sent


class Turns:
    """So many turns at a time (`most` says how many now), each after a wait of some seconds at most.

    Next is a request of the client with the fewest, so that nobody keeps all others out.
    """

    def __init__(self, most: Callable[[], int], most_seconds: float) -> None:
        self._most, self._most_seconds = most, most_seconds
        self._taken: list[Turn] = []
        self._waiting: dict[asyncio.Future[None], Turn] = {}

    async def take(self, scope: Scope) -> Turn | None:
        """Wait for a turn for a request; return it, or None if there was none in time."""
        connection = connection_of(scope)
        turn = Turn(self, "" if connection is None else connection.client_name, connection)
        return turn if await self.wait(turn) else None

    async def wait(self, turn: Turn) -> bool:
        """Wait until it is this turn's time; return whether it was in time."""
        if len(self._taken) < self._most():
            self._taken.append(turn)
            return True
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting[mine] = turn
        hurry = loop.call_later(_UNREAD_SECONDS, self._hurry)
        try:
            async with asyncio.timeout(self._most_seconds):
                await mine
        except TimeoutError:
            return mine.done() and not mine.cancelled()  # it may have come at the last moment
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.ended(turn)
            raise
        finally:
            hurry.cancel()
            self._waiting.pop(mine, None)
        return True

    def ended(self, turn: Turn) -> None:
        """Give the turn to the next one that waits; to more of them, or to none, if `most` has changed meanwhile."""
        self._taken.remove(turn)
        waiting = [(mine, other) for mine, other in self._waiting.items() if not mine.done()]
        while waiting and len(self._taken) < self._most():
            counts = Counter(one.client for one in self._taken)
            mine, chosen = min(waiting, key=lambda pair: counts[pair[1].client])  # of equals, the first to come
            waiting.remove((mine, chosen))
            self._taken.append(chosen)
            mine.set_result(None)

    def _hurry(self) -> None:
        """Break off the answer that its client has left unread for the longest time, if there is one."""
        now = time.monotonic()
        longest = max(self._taken, key=lambda turn: turn.unread_for(now), default=None)
        if longest is not None and longest.unread_for(now) > _UNREAD_SECONDS:
            longest.break_off()
