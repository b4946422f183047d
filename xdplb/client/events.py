# SPDX-License-Identifier: Apache-2.0
"""What can be asked about events: what has happened, and what happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypedDict, Unpack, cast
from urllib.parse import urlencode

from xdplb.model.errors import PlatformError

from .answer import Answer
from .bodies import EventOut, EventsOut
from .errors import DaemonDownError, TimedOutError
from .event_stream import messages
from .transport import Transport

__all__ = ["EventLog", "Which"]

_PATH = "/v1/events"
_STREAM = "text/event-stream"
_SILENCE_SECONDS = 45.0
"""The daemon sends something every 15 s."""

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 3.0


class Which(TypedDict, total=False):
    """Which events: about a VIP or a backend, of some kinds, this serious or more so, of an actor, since a moment.

    `since` is such as `1h`, `03:12` or `2026-11-28T03:12:00Z`.
    """

    vip: str | None
    backend: str | None
    kinds: list[str]
    level: Literal["critical", "error", "warning", "notice", "info", "debug"] | None
    actor: str | None
    since: str | None


class EventLog:
    """The events that the daemon keeps."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def page(
        self,
        *,
        until: str | None = None,
        cursor: int | None = None,
        newest_first: bool = False,
        limit: int = 100,
        **which: Unpack[Which],
    ) -> Answer[EventsOut]:
        """Return up to `limit` events (1000 at most), and in `next` the `cursor` of the page after them, if any."""
        more = {"until": until, "cursor": cursor, "order": "desc" if newest_first else None, "limit": limit}
        return self._transport.request("GET", f"{_PATH}?{_query(which, more)}")

    def past(self, *, until: str | None = None, after: int | None = None, **which: Unpack[Which]) -> Iterator[EventOut]:
        """Yield all events that are kept and happened until now, or `until`, the oldest first."""
        cursor = after
        while True:
            body = self.page(until=until, cursor=cursor, limit=1000, **which).json()
            yield from body["events"]
            if (cursor := body["next"]) is None:
                return

    def follow(
        self,
        *,
        after: int | None = None,
        on_note: Callable[[str], None] = lambda _sentence: None,
        **which: Unpack[Which],
    ) -> Iterator[EventOut]:
        """Yield events as they happen, for as long as it is read: after the id `after`, or since then, else new ones.

        If the daemon goes, or can read no events for a while, this waits until it can again, and goes on where it was.
        `on_note` gets a sentence then, and if events are missing because they are not kept any more. At its begin it
        raises as other requests do; later only if the daemon refuses, such as a token that was removed.
        """
        last, pause, has_begun, is_told = after, _FIRST_PAUSE_SECONDS, False, True
        while True:
            headers = {"Accept": _STREAM} | ({} if last is None else {"Last-Event-ID": str(last)})
            try:
                with self._transport.stream(
                    f"{_PATH}?{_query(which, {})}", headers, silence=_SILENCE_SECONDS
                ) as chunks:
                    for message in messages(chunks):
                        pause, has_begun, is_told = _FIRST_PAUSE_SECONDS, True, False
                        if message.type == "missed":
                            on_note("some events are missing here: they are not kept any more")
                        elif message.data:
                            yield cast("EventOut", json.loads(message.data))
                        if message.id is not None and message.id.isdecimal():
                            last = int(message.id)
            except (DaemonDownError, TimedOutError, PlatformError) as error:
                if not has_begun:
                    raise
                if not is_told:
                    on_note(f"{error.detail}: waiting until it is there again")
                    is_told = True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _query(which: Which, more: Mapping[str, object]) -> str:
    single: dict[str, Any] = {name: value for name, value in which.items() if name != "kinds"} | dict(more)
    given = [(name, value) for name, value in single.items() if value is not None]
    return urlencode([*given, *(("kind", kind) for kind in which.get("kinds", ()))])
