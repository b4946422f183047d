# SPDX-License-Identifier: Apache-2.0
"""Accepting connections: up to the cap, without a core that spins or a log line for each that is refused.

A process on the Unix socket that has no role is told so at once. On TLS the handshake comes first, within some seconds,
and only so many at a time, so that who begins one and does not go on keeps nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from xdplb.control.events import Actor, ActorKind
from xdplb.model.role import Role

from .connections import Connections
from .listener import Listener
from .peer import client_name, groups_of, host_of, peer_of
from .problems import raw_problem
from .rights.gate import no_role
from .rights.refusals import Refusals

__all__ = ["Acceptor"]

_log = logging.getLogger("xdplb.api")

_AT_ONCE = 32
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 1.0
_LOG_SECONDS = 60.0
_LINGER_SECONDS = 0.5
_MOST_LINGERING = 16
_HANDSHAKE_SECONDS = 10.0
_SHUTDOWN_SECONDS = 5.0
_MOST_HANDSHAKES = 64
_GONE = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EINTR})

_REFUSAL = raw_problem(
    503,
    "too-many-connections",
    "the API has as many connections as it takes",
    hint="try again in a second; xdplb up --api-connections raises the number",
    headers={"Retry-After": "1"},
)


class Acceptor:
    """Accepts what comes at a listening socket, and refuses with a 503 what is beyond the cap of `connections`.

    `make` makes the protocol of a connection to a peer, `refusals` is told of those that are not let in.
    """

    def __init__(
        self,
        listener: Listener,
        make: Callable[[Actor], asyncio.BaseProtocol],
        connections: Connections,
        refusals: Refusals | None,
    ) -> None:
        self._listener, self._make, self._connections, self._refusals = listener, make, connections, refusals
        self._socket = listener.socket
        self._loop = asyncio.get_running_loop()
        self._starting: dict[asyncio.Task[None], str] = {}
        self._lingering: deque[tuple[float, socket.socket]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._log_at, self._unlogged = 0.0, 0
        self._resume: asyncio.TimerHandle | None = None
        self._socket.settimeout(0)
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more, and end handshakes: who has not said anything yet is not waited for."""
        for task in self._starting if self._listener.tls is not None else ():
            task.cancel()
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
            self._look_at(accepted)

    def _look_at(self, accepted: socket.socket) -> None:
        """Serve a connection, or refuse it."""
        try:
            peer = self._peer(accepted)
        except OSError:  # it is gone again
            accepted.close()
            return
        if peer.kind is ActorKind.UNIX and peer.role is None:
            if self._refusals is not None:
                self._refusals.no_role(peer)
            self._refuse(accepted, no_role(peer).raw())
        elif self._connections.take_place(len(self._starting), client_name(peer)):
            self._begin(accepted, peer)
        else:
            self._refuse(accepted, _REFUSAL)

    def _peer(self, accepted: socket.socket) -> Actor:
        """Return who connected, with the role that it has by where it connected to."""
        peer = peer_of(accepted)
        if self._listener.is_open:
            return replace(peer, role=Role.READ)
        if peer.uid is None:
            return peer
        return replace(peer, role=self._listener.roles.role_of(peer.uid, groups_of(accepted)))

    def _begin(self, accepted: socket.socket, peer: Actor) -> None:
        if self._listener.tls is not None and len(self._starting) >= _MOST_HANDSHAKES:
            self._cut_one_off()
        task = self._loop.create_task(self._serve(accepted, peer))
        self._starting[task] = client_name(peer)
        task.add_done_callback(lambda ended: self._starting.pop(ended, None))

    def _cut_one_off(self) -> None:
        """End the oldest handshake of the client with the most, which has had the most of its time."""
        hog, _ = Counter(self._starting.values()).most_common(1)[0]
        task = next(task for task, client in self._starting.items() if client == hog)
        self._starting.pop(task)
        task.cancel()

    async def _serve(self, accepted: socket.socket, peer: Actor) -> None:
        tls = self._listener.tls
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(peer),
                accepted,
                ssl=None if tls is None else tls.context,
                ssl_handshake_timeout=None if tls is None else _HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=None if tls is None else _SHUTDOWN_SECONDS,
            )
        except ssl.SSLCertVerificationError as error:
            accepted.close()
            if self._refusals is not None:
                self._refusals.unknown(peer, host_of(peer), f"its certificate is refused: {error.verify_message}")
        except OSError:  # it is gone again, or does not speak TLS
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise

    def _refuse(self, refused: socket.socket, answer: bytes) -> None:
        """Say why, and close it a little later: closed at once, it would break the request that is being sent.

        On TLS nothing is said: that would take a handshake.
        """
        with contextlib.suppress(OSError):
            if self._listener.tls is None:
                refused.send(answer)
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
