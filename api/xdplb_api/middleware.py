# SPDX-License-Identifier: Apache-2.0
"""Middleware: a catch-all for errors, and HEAD."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import internal_error, stopped

__all__ = ["HeadAsGet", "InternalErrors"]


class InternalErrors:
    """Logs an unexpected error and answers it with a problem that reveals no internals.

    Requests are cancelled only when the daemon stops and has waited for them long enough: that is no error. An answer
    that has begun, such as a capture, then ends where it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, note_start)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            if not started:
                await stopped()(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            answer = internal_error(error, f"{scope['method']} {scope['path']}")
            await answer(scope, receive, send)


class HeadAsGet:
    """Answers HEAD wherever there is a GET: with the same status and headers, and without the body (RFC 9110, 9.3.2).

    The paths in `except_for` have routes for HEAD of their own, since their GET acts.
    """

    def __init__(self, app: ASGIApp, except_for: Collection[str]) -> None:
        self.app, self.except_for = app, except_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"] in self.except_for:
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET", "asked": "HEAD"}, receive, without_body)
