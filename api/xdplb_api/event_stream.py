# SPDX-License-Identifier: Apache-2.0
"""Events as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): as they happen.

A reader is sent what is kept, from where it was, and then what comes. Nothing waits for it and nothing is held in
memory for it: it is cut off if it does not read, and goes on from there when it comes again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from xdplb.control.history.history import History
from xdplb.control.history.wanted import Page, Wanted
from xdplb.model.errors import XdplbError

from .connections import connection_of
from .event_readers import EventReaders
from .problems import busy

__all__ = ["MEDIA_TYPE", "EventStream", "wants_stream"]

MEDIA_TYPE = "text/event-stream"

_HEARTBEAT_SECONDS = 15.0
_UNREAD_SECONDS = 10.0
"""How long a reader may leave what it was sent unread."""

_A_PAGE = 100
_RETRY_MS = 2000


def wants_stream(accept: str) -> bool:
    """Return whether an Accept header asks for a stream."""
    return any(part.partition(";")[0].strip().lower() == MEDIA_TYPE for part in accept.split(","))


class EventStream(Response):
    """An answer that sends the events that are wanted, for as long as the client reads on and the daemon runs."""

    def __init__(self, history: History, readers: EventReaders, wanted: Wanted) -> None:
        super().__init__(headers=_HEADERS, media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._history, self._readers = history, readers
        self._wanted = replace(wanted, limit=_A_PAGE)
        self._more = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        connection = connection_of(scope)
        with self._readers.place(connection) as found:
            if not found:
                full = busy("as many readers as may follow the events at a time do so already", "try again later")
                await full(scope, receive, send)
                return
            gone: asyncio.Future[Any] = asyncio.ensure_future(_disconnect(receive))
            end = self._history.follow(self._teller())
            try:
                await self._send_all(send, gone)
            except TimeoutError:
                if connection is not None:
                    connection.yields()
                    await gone
            finally:
                end()
                gone.cancel()

    async def _send_all(self, send: Send, gone: asyncio.Future[Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _send(send, f"retry: {_RETRY_MS}\n{self._position()}")
        while not gone.done():
            self._more.clear()
            try:
                page = await self._history.read(self._wanted)
            except XdplbError:
                break  # also when the daemon stops: the client comes again
            await self._send_page(send, page)
            if not page.more and not await self._wait(gone):
                await _send(send, f": nothing new\n{self._position()}")
        if not gone.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_page(self, send: Send, page: Page) -> None:
        if page.missed:
            missed = json.dumps({"after": self._wanted.after})
            await _send(send, f"event: missed\ndata: {missed}\n\n")
        self._wanted = replace(self._wanted, after=page.events[-1].id if page.more else page.latest)
        if page.events:
            await _send(send, "".join(f"id: {event.id}\ndata: {event.body}\n\n" for event in page.events))

    def _position(self) -> str:
        """Return what tells the client where it is: it sends that when it comes again, also if there was no event."""
        return "\n" if self._wanted.after is None else f"id: {self._wanted.after}\n\n"

    async def _wait(self, gone: asyncio.Future[Any]) -> bool:
        """Wait until there may be more, the client is gone, or for some time; return whether it was not the time."""
        more: asyncio.Future[Any] = asyncio.ensure_future(self._more.wait())
        try:
            done, _ = await asyncio.wait([more, gone], timeout=_HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            more.cancel()
        return bool(done)

    def _teller(self) -> Callable[[], None]:
        """Return what says in another thread that there is more."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with suppress(RuntimeError):  # the API has ended
                loop.call_soon_threadsafe(self._more.set)

        return tell


_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}
"""nginx in front of it would hold events back."""


async def _send(send: Send, text: str) -> None:
    """Send a part; TimeoutError if the client leaves what it was sent unread."""
    async with asyncio.timeout(_UNREAD_SECONDS):
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _disconnect(receive: Receive) -> None:
    """Return when the client is gone."""
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
