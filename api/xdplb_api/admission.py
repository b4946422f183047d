# SPDX-License-Identifier: Apache-2.0
"""Admission of requests: their bodies within bounds of size and memory, and only so many worked on at once.

A body is read as a whole before the request takes its turn, so that a slow client keeps nobody waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits
from .problems import ProblemResponse, busy, too_large, too_much_to_do
from .turns import TURN, Turn, Turns

__all__ = ["Admission"]

MOST_WAIT_SECONDS = 5.0
"""How long a request waits for its turn before it is refused."""

SMALL_BODY = 64 << 10
"""Up to this size a body is always taken, whatever the others have taken: an operator's change is never refused."""

PIECE = 64 << 10
"""Answers are handed on in pieces of this size, so that one is done only when its client has read nearly all of it."""


class Admission:
    """Lets requests in. `most` is the size of a body in bytes; paths with an end of `long_paths` may have more.

    A request that `is_endless` has an answer without end: it counts as worked on only until that begins.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        *,
        most: int,
        long_paths: tuple[str, ...],
        is_endless: Callable[[Scope], bool],
    ) -> None:
        self.app, self.limits = app, limits
        self._most, self.long_paths, self._is_endless = most, long_paths, is_endless
        self._turns = Turns(lambda: limits.requests, MOST_WAIT_SECONDS)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with _Body(self, scope) as body:
            refusal = await body.read(receive)
            if refusal is not None:
                await refusal(scope, receive, send)
            elif not body.is_broken_off:
                await self._serve(scope, body.again(receive), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn = await self._turns.take(scope)
        if turn is None:
            await too_much_to_do()(scope, receive, send)
            return
        try:
            told = _ending(turn, send) if self._is_endless(scope) else _in_pieces(turn.sending(send))
            await self.app({**scope, TURN: turn}, receive, told)
        finally:
            turn.end()

    @property
    def most(self) -> int:
        """The size of a body in bytes."""
        return min(self._most, self.limits.body_bytes)

    def take(self, count: int) -> bool:
        """Take memory for this many bytes of a body; return whether there was enough."""
        if self._held + count > self.limits.memory_bytes:
            return False
        self._held += count
        return True

    def give_back(self, count: int) -> None:
        """Give memory back."""
        self._held -= count


class _Body:
    """The body of a request while it is read and until the request is answered."""

    def __init__(self, admission: Admission, scope: Scope) -> None:
        self._admission = admission
        length = Headers(scope=scope).get("content-length", "")
        self._said = int(length) if length.isdecimal() else 0
        is_long = scope["path"].endswith(admission.long_paths)
        self._most = admission.limits.body_bytes if is_long else admission.most
        self._bytes = bytearray()
        self._held = 0
        self.is_broken_off = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.give_back(self._held)

    async def read(self, receive: Receive) -> ProblemResponse | None:
        """Read it; return a refusal if it is too large or there is no memory for it."""
        if self._said > self._most:
            return too_large(self._most)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.is_broken_off = True
                return None
            self._bytes += message.get("body", b"")
            more = message.get("more_body", False)
            if len(self._bytes) > self._most:
                return too_large(self._most)
            if len(self._bytes) > SMALL_BODY:
                needed = len(self._bytes) - self._held
                if not self._admission.take(needed):
                    return busy("too many large bodies are on their way at the moment", "try again in a few seconds")
                self._held += needed
        return None

    def again(self, receive: Receive) -> Receive:
        """Return what gives the application the body that has been read, and then what else the client does."""
        pending: list[Message] = [{"type": "http.request", "body": bytes(self._bytes), "more_body": False}]
        self._bytes = bytearray()

        async def next_message() -> Message:
            return pending.pop() if pending else await receive()

        return next_message


def _ending(turn: Turn, send: Send) -> Send:
    """Return a `send` that ends the turn when the answer begins."""

    async def sent(message: Message) -> None:
        turn.end()
        await send(message)

    return sent


def _in_pieces(send: Send) -> Send:
    async def sent(message: Message) -> None:
        left = memoryview(message.get("body", b""))
        if message["type"] != "http.response.body" or len(left) <= PIECE:
            await send(message)
            return
        while len(left) > PIECE:
            await send({"type": "http.response.body", "body": bytes(left[:PIECE]), "more_body": True})
            left = left[PIECE:]
        await send({**message, "body": bytes(left)})

    return sent
