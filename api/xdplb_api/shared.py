# SPDX-License-Identifier: Apache-2.0
"""Answers that are large and the same for everyone: those who ask for one at the same time share it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xdplb.control.answers.gathered import Gathered
from xdplb.control.events import Actor, ActorKind
from xdplb.model.role import Role

from .accepted import takes_gzip
from .peer import with_peer
from .problems import too_much_to_do
from .turns import TURN, Turn

__all__ = ["SharedAnswers"]

_QUERIES = frozenset({b"", b"level=vip", b"level=total"})
"""Those whose answers are shared, too: few, since each answer has its own line of those who wait."""

_READER = Actor(ActorKind.DAEMON, role=Role.READ)


class SharedAnswers:
    """Makes the answer to a GET of one of `paths` once for all who ask while another one is being made.

    It is as of a moment after they asked. The next one is made after a pause as long as it took, so that a flood of
    them takes at most half of the time.
    """

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self.app = app
        self._paths = frozenset(paths)
        self._making: dict[tuple[str, bytes, bool], Gathered[list[Message]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not self._is_shared(scope):
            await self.app(scope, receive, send)
            return
        in_gzip = takes_gzip(Headers(scope=scope))
        asked = (scope["path"], scope["query_string"], in_gzip)
        if asked not in self._making:
            # The gate has let all of them in, so each may read; what comes of it is nobody's in particular.
            headers = [(b"accept-encoding", b"gzip")] if in_gzip else []
            plain = {name: value for name, value in scope.items() if name not in {"state", TURN}} | {"headers": headers}
            plain = {**with_peer(plain, _READER)}
            self._making[asked] = Gathered(lambda: self._made(plain), rests=True)
        turn: Turn | None = scope.get(TURN)
        if turn is not None:
            turn.end()  # others work meanwhile
        messages = await self._making[asked]()
        if turn is not None and not await turn.again():
            await too_much_to_do()(scope, receive, send)
            return
        for message in messages:
            await send(message)

    def _is_shared(self, scope: Scope) -> bool:
        """Return whether the answer depends on path, query and gzip alone; all else gets a refusal of its own."""
        headers = Headers(scope=scope)
        is_plain = scope["query_string"] in _QUERIES and "transfer-encoding" not in headers
        return (
            is_plain
            and scope["method"] == "GET"
            and scope["path"] in self._paths
            and headers.get("content-length", "0") == "0"
        )

    async def _made(self, scope: Scope) -> list[Message]:
        """Return the messages of the answer."""
        messages: list[Message] = []
        pending: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if pending:
                return pending.pop()
            await asyncio.Event().wait()  # nobody in particular asks, so nobody disconnects
            raise AssertionError("nothing sets it")

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(dict(scope), receive, keep)
        return messages
