# SPDX-License-Identifier: Apache-2.0
"""The header Idempotency-Key: a change that is asked for again with the same key is made once.

As in draft-ietf-httpapi-idempotency-key-header-06, for every method that changes something. Only answers of 2xx are
kept: a refused request has changed nothing, so it may be sent again with the same key, also after it was put right.
What is kept is in memory: a restart of the daemon forgets it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Collection
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Header
from pydantic import WithJsonSchema
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xdplb.control.events import Actor
from xdplb.model.errors import FieldProblem
from xdplb.model.printable import quoted

from .kept_answers import LARGEST_ANSWER, KeptAnswer, KeptAnswers, Reused, Running
from .peer import actor_of
from .problems import ProblemResponse
from .schemas.forms import IDEMPOTENCY_KEY

__all__ = ["Idempotency", "IdempotencyKey"]

HEADER = "Idempotency-Key"
REPLAYED = (b"idempotency-replayed", b"true")

_SHORT = 1 << 20
"""In bytes. Of this much a digest takes a millisecond."""

_METHODS = {"POST", "PUT", "PATCH", "DELETE"}
_KEY = re.compile(r'"([ !#-\[\]-~]{1,128})"|([!#-\[\]-~]{1,128})')  # an sf-string (RFC 9651), or its plain content

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="A key that no other change has. The same request with the same key, within an hour, gets the same"
        " answer, and the change is made once.",
        examples=['"8e03978e-40d5-43e8-bc93-6894a57f9324"'],
    ),
    WithJsonSchema(IDEMPOTENCY_KEY),
]
"""The header, for the documentation: `Idempotency` reads it."""


class Idempotency:
    """Answers a change that was made before with the answer of that time, except at the paths `never`."""

    def __init__(self, app: ASGIApp, never: Collection[str]) -> None:
        self.app, self.never = app, never
        self._kept = KeptAnswers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        given = _given(scope, self.never)
        if given is None:
            await self.app(scope, receive, send)
            return
        match = _KEY.fullmatch(given)
        if match is None:
            await _malformed(given)(scope, receive, send)
            return
        if _is_dry_run(scope):
            await self.app(scope, receive, send)
            return
        whose, key, body = _whose(actor_of(Request(scope))), match[1] or match[2], await _body(receive)
        fingerprint = await _fingerprint(scope, body)
        try:
            answer = self._kept.begin(whose, key, fingerprint)
        except Running:
            await _still_running()(scope, receive, send)
        except Reused:
            await _reused(key)(scope, receive, send)
        else:
            if answer is None:
                await self._first(scope, _again(body, receive), send, whose, key)
            else:
                await _send(answer, send)

    async def _first(self, scope: Scope, receive: Receive, send: Send, whose: str, key: str) -> None:
        """Serve a request, and keep its answer before it is sent."""
        start: Message = {}
        body = bytearray()
        is_open = True

        async def sent(message: Message) -> None:
            nonlocal is_open
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body" and is_open:
                body.extend(message.get("body", b"")[: LARGEST_ANSWER + 1 - len(body)])
                if not message.get("more_body", False):
                    is_open = False
                    self._end(whose, key, start, bytes(body))
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            if is_open:
                self._kept.forget(whose, key)

    def _end(self, whose: str, key: str, start: Message, body: bytes) -> None:
        if 200 <= start["status"] < 300:
            headers = tuple((bytes(name), bytes(value)) for name, value in start.get("headers", ()))
            self._kept.keep(whose, key, KeptAnswer(start["status"], headers, body))
        else:
            self._kept.forget(whose, key)


def _given(scope: Scope, never: Collection[str]) -> str | None:
    """Return the key of a request that it matters for. One that is given twice is refused elsewhere."""
    if scope["type"] != "http" or scope["method"] not in _METHODS or scope["path"] in never:
        return None
    keys = Headers(scope=scope).getlist(HEADER)
    return keys[0].strip() if len(keys) == 1 else None


def _is_dry_run(scope: Scope) -> bool:
    # As text: of bytes, parse_qs takes none that stand for characters beyond ASCII.
    return parse_qs(scope["query_string"].decode("latin-1")).get("dry_run") == ["true"]


def _whose(actor: Actor) -> str:
    """Return what is the same for all connections of who asks."""
    host = (actor.peer or "").rpartition(":")[0]
    return repr((actor.kind.value, actor.uid, actor.token, actor.certificate, actor.role, host))


async def _fingerprint(scope: Scope, body: bytes) -> bytes:
    """Return what is the same for the same request. That of a long one is found in a thread, beside other work."""
    return _digest(scope, body) if len(body) <= _SHORT else await asyncio.to_thread(_digest, scope, body)


def _digest(scope: Scope, body: bytes) -> bytes:
    parts = (
        scope["method"].encode(),
        scope["path"].encode("utf-8", "surrogateescape"),
        scope["query_string"],
        Headers(scope=scope).get("if-match", "").encode("latin-1"),
        body,
    )
    told = hashlib.sha256()
    for part in parts:
        told.update(len(part).to_bytes(8))
        told.update(part)
    return told.digest()


async def _body(receive: Receive) -> bytes:
    """Return the whole body, which has been read already."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives the application the body that has been read, and then what else the client does."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message


async def _send(answer: KeptAnswer, send: Send) -> None:
    headers = [*answer.headers, REPLAYED]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _malformed(given: str) -> ProblemResponse:
    detail = f"{quoted(given, 60)} is not a key"
    return ProblemResponse(
        422,
        "invalid",
        detail,
        hint="give 1 to 128 printable characters of ASCII in quotes, such as a new UUID for each change",
        errors=[FieldProblem(f"/header/{HEADER}", detail)],
    )


def _still_running() -> ProblemResponse:
    return ProblemResponse(
        409,
        "still-running",
        "the first request with this key is still being worked on",
        hint="ask again in a second: then you get its answer",
        headers={"Retry-After": "1"},
    )


def _reused(key: str) -> ProblemResponse:
    return ProblemResponse(
        422,
        "key-reused",
        f"the key {quoted(key, 60)} was used for another request",
        hint="give each change a key of its own; one that is repeated must be the same in every byte",
        errors=[FieldProblem(f"/header/{HEADER}", "another request had it")],
    )
