"""Accepting connections: up to the cap, without a core that spins or a log line for each that is refused."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable

from .connections import Connections
from .peer import client_name, peer_of
from .problems import raw_problem

__all__ = ["Acceptor"]

_log = logging.getLogger("xdplb.api")

_AT_ONCE = 32
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 1.0
_LOG_SECONDS = 60.0
_LINGER_SECONDS = 0.5
_MOST_LINGERING = 16
_GONE = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EINTR})

_REFUSAL = raw_problem(
    503,
    "too-many-connections",
    "the API has as many connections as it takes",
    hint="try again in a second; xdplb up --api-connections raises the number",
    headers={"Retry-After": "1"},
)


class Acceptor:
    """Accepts what comes at a listening socket, and refuses with a 503 what is beyond the cap of `connections`."""

    def __init__(
        self, listening: socket.socket, make: Callable[[], asyncio.BaseProtocol], connections: Connections
    ) -> None:
        self._socket, self._make, self._connections = listening, make, connections
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._lingering: deque[tuple[float, socket.socket]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._log_at, self._unlogged = 0.0, 0
        self._resume: asyncio.TimerHandle | None = None
        listening.settimeout(0)
        self._loop.add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more."""
        if self._resume is not None:
            self._resume.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
        if self._timer is not None:
            self._timer.cancel()
        while self._lingering:
            self._lingering.popleft()[1].close()

    async def wait_closed(self) -> None:
        """Return when what was accepted has become a connection."""
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _GONE:
                    continue
                self._rest(error)
                return
            self._pause = _FIRST_PAUSE_SECONDS
            accepted.settimeout(0)
            if self._connections.take_place(len(self._starting), client_name(peer_of(accepted))):
                self._begin(accepted)
            else:
                self._refuse(accepted)

    def _begin(self, accepted: socket.socket) -> None:
        task = self._loop.create_task(self._serve(accepted))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, accepted)
        except OSError:  # it is gone again
            accepted.close()

    def _refuse(self, refused: socket.socket) -> None:
        """Say why, and close it a little later: closed at once, it would break the request that is being sent."""
        with contextlib.suppress(OSError):
            refused.send(_REFUSAL)
            refused.shutdown(socket.SHUT_WR)
        self._lingering.append((time.monotonic() + _LINGER_SECONDS, refused))
        if len(self._lingering) > _MOST_LINGERING:
            self._lingering.popleft()[1].close()
        if self._timer is None:
            self._timer = self._loop.call_later(_LINGER_SECONDS, self._close_lingering)

    def _close_lingering(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._lingering and self._lingering[0][0] <= now:
            self._lingering.popleft()[1].close()
        if self._lingering:
            self._timer = self._loop.call_later(self._lingering[0][0] - now, self._close_lingering)

    def _rest(self, error: OSError) -> None:
        """Stop accepting for a while: the connection stays in the queue, so that asking again at once would spin."""
        self._unlogged += 1
        now = time.monotonic()
        if not self._log_at or now - self._log_at >= _LOG_SECONDS:
            _log.error(
                "the API cannot accept connections: %s (%d times); it tries again",
                os.strerror(error.errno or 0),
                self._unlogged,
            )
            self._log_at, self._unlogged = now, 0
        self._loop.remove_reader(self._socket.fileno())
        self._resume = self._loop.call_later(self._pause, self._go_on)
        self._pause = min(2 * self._pause, _LAST_PAUSE_SECONDS)

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._socket.fileno(), self._accept)
