# SPDX-License-Identifier: Apache-2.0
"""The open connections of the API: how many there may be, and which are closed because their client takes too long."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import h11
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl

from xdplb.control.events import Actor

from .limits import Limits
from .peer import PeerProtocol
from .problems import raw_problem
from .rights.tls import Tls

__all__ = ["Connection", "Connections", "connection_of"]

_STATE_KEY = "connection"

_MOST_AHEAD_BYTES = 64 << 10
"""How much of its next requests a client may send before the one at work is answered."""

_SWEEP_SECONDS = 0.5
_YIELDS_AFTER_SECONDS = 1.0
"""After this time without a byte, a connection without a complete request makes room for a new one."""

_TOO_SLOW = raw_problem(
    408, "too-slow", "the request did not come in time", hint="send it in one go; see xdplb up --help for the limits"
)
_NOT_HTTP = raw_problem(400, "not-http", "this is not a request of HTTP/1.1", hint="see /openapi.json for the API")


class _Flow(FlowControl):
    """Reads on also while a request is worked on, to see if its client goes away, but not without end.

    uvicorn reads a piece each time that the application looks for that, and keeps what it has not asked for in memory.
    """

    def __init__(self, transport: asyncio.Transport, conn: h11.Connection) -> None:
        super().__init__(transport)
        self._conn = conn

    def resume_reading(self) -> None:
        """Read on, unless the client has sent enough for now."""
        is_whole = self._conn.their_state is h11.DONE
        if not is_whole or len(self._conn.trailing_data[0]) < _MOST_AHEAD_BYTES:
            super().resume_reading()


class Connection(PeerProtocol):
    """A connection to a client, with the times by which its client is judged."""

    def __init__(self, *arguments: Any, connections: Connections, peer: Actor, tls: Tls | None, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._all, self._tls, self.peer = connections, tls, peer
        self.let_in_by: dict[str, Callable[[], bool]] = {}
        """By `token` and `certificate`: says whether what the client has shown still holds, if that can end."""
        self.makes_room = False
        """Its request is refused, and it makes room for others while it waits to be told."""
        self.heard = time.monotonic()
        """When the last byte came."""
        self._head_since: float | None = self.heard
        self._request_since = self._stuck_since = self._closing_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it."""
        certificate = transport.get_extra_info("peercert")
        if self._tls is not None and certificate:
            self.peer, self.let_in_by["certificate"] = self._tls.known(self.peer, certificate)
        super().connection_made(transport)
        self.flow = _Flow(transport, self.conn)
        self.app_state = {**self.app_state, _STATE_KEY: self}
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more, and let go of its last request: else the two keep each other, and the body, in memory."""
        self._all.discard(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn leaves it running if the client has reset the connection
        self.cycle = self.scope = None  # type: ignore[assignment]
        self.app_state = {}

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        self.heard = time.monotonic()
        if self._head_since is None and self._awaits_request():
            self._head_since = self.heard
        cycle = self.cycle
        super().data_received(data)
        if self.cycle is not cycle:
            self._request_since = self.heard
        if not self._awaits_request():
            self._head_since = None

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, part of which may have come already."""
        cycle = self.cycle
        super().on_response_complete()
        if self.conn.their_state is not h11.DONE:  # what had come was not the whole of the next request
            self.flow.resume_reading()
        if self.cycle is not cycle:
            self._request_since = time.monotonic()
        elif self.conn.trailing_data[0]:
            self._head_since = time.monotonic()

    def pause_writing(self) -> None:
        """Note since when the client has left an answer unread."""
        self._stuck_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads on."""
        self._stuck_since = 0.0
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (the same for all)
        """Answer what is not HTTP. Nothing is logged: anyone could fill the log with it."""
        in_body = self.cycle is not None and not self.cycle.response_complete
        if not in_body or not self.cycle.response_started:
            self.transport.write(_NOT_HTTP)
        self.transport.close()

    def shutdown(self) -> None:
        """End it, after the answer if one is being made or sent: nobody waits for a client that does not go on."""
        if self._awaits_body() or self._stuck_since:
            self.transport.abort()
        else:
            super().shutdown()

    def waits_for_client(self) -> bool:
        """Return whether no request is complete: neither one to work on nor an answer to send."""
        return self._awaits_request() or self._awaits_body() or self.makes_room

    def judge(self, now: float, limits: Limits) -> None:
        """Close it if its client takes too long for what is expected of it, or may not be here any more."""
        if not all(holds() for holds in self.let_in_by.values()):
            self.transport.abort()
        elif self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > limits.unread_seconds:
                self.transport.abort()
        elif self._stuck_since and now - self._stuck_since > limits.unread_seconds:
            self.transport.abort()
        elif self._awaits_request():
            if self._head_since is not None and now - self._head_since > limits.head_seconds:
                self._close_late(asked=bool(self.conn.trailing_data[0]))
        elif self._awaits_body() and (
            now - self._request_since > limits.body_seconds or now - self.heard > limits.head_seconds
        ):
            self._close_late(asked=not self.cycle.response_started)

    def yields(self) -> None:
        """Make room for another connection."""
        self.transport.abort()

    def _awaits_request(self) -> bool:
        done = self.cycle is None or self.cycle.response_complete
        return done and self.conn.their_state is not h11.SEND_BODY

    def _awaits_body(self) -> bool:
        # Also after an early answer, such as a refusal: what is left of the body is read and dropped.
        return self.cycle is not None and self.conn.their_state is h11.SEND_BODY

    def _close_late(self, *, asked: bool) -> None:
        if asked:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


def connection_of(scope: Scope) -> Connection | None:
    """Return the connection of a request, None in tests without a server."""
    connection: Connection | None = scope.get("state", {}).get(_STATE_KEY)
    return connection


class Connections:
    """All open connections. Used in the API's event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def take_place(self, starting: int, client: str) -> bool:
        """Return whether there is room for one more of this client (see `client_name`), beside `starting` ones.

        If not, another one makes room that waits for its client: of the client that has far more of them, or else one
        that was silent for a while. So nobody who holds connections, or opens ever new ones, locks the others out.
        """
        if len(self._open) + starting < self._limits.connections:
            return True
        waiting = [one for one in self._open if one.waits_for_client()]
        chosen = _of_hog(waiting, client) or _silent(waiting)
        if not chosen:
            return False
        longest = min(chosen, key=lambda one: one.heard)
        self._open.discard(longest)
        longest.yields()
        return True

    def add(self, connection: Connection) -> None:
        """Count a connection, and judge it from time to time."""
        self._open.add(connection)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def discard(self, connection: Connection) -> None:
        """Count a connection no more."""
        self._open.discard(connection)

    def _sweep(self) -> None:
        self._sweeping = None
        now = time.monotonic()
        for connection in list(self._open):
            connection.judge(now, self._limits)
        if self._open:
            self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)


def _of_hog(waiting: Collection[Connection], client: str) -> list[Connection]:
    """Return the connections of the client that has the most, if those are at least twice as many as `client` has."""
    counts = Counter(one.client_name for one in waiting)
    hog, most = max(counts.items(), key=lambda pair: pair[1], default=("", 0))
    if most < 2 * (counts[client] + 1):
        return []
    return [one for one in waiting if one.client_name == hog]


def _silent(waiting: Collection[Connection]) -> list[Connection]:
    now = time.monotonic()
    return [one for one in waiting if now - one.heard > _YIELDS_AFTER_SECONDS]
