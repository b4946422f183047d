"""Middleware: a catch-all for errors, HEAD, and a guard for requests over TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import ProblemResponse, internal_error, stopped

__all__ = ["HeadAsGet", "InternalErrors", "LoopbackOnly"]


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


class LoopbackOnly:
    """Refuses requests that a web page can make a browser on this host send.

    A page whose own name resolves to 127.0.0.1 (DNS rebinding) is seen in Host, any other page in Origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answer = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)

    @staticmethod
    def _refusal(headers: Headers) -> ProblemResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _is_loopback(host):
            return ProblemResponse(
                421, "wrong-host", f"this API is not served for host {host!r}", hint="use localhost or 127.0.0.1"
            )
        if origin is not None and origin != f"http://{host}":
            return ProblemResponse(403, "wrong-origin", f"requests from {origin!r} are not accepted")
        return None


def _is_loopback(host: str) -> bool:
    """Return whether `host`, a Host header, is a loopback name or address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
