# SPDX-License-Identifier: Apache-2.0
"""Serving applications until they are told to stop: in the caller's event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from xdplb.control.events import Actor

from .acceptor import Acceptor
from .connections import Connection, Connections
from .limits import Limits
from .listener import Listener
from .pace import new_paced_loop
from .rights.refusals import Refusals

__all__ = ["Service", "Stop", "serve", "serve_in_thread"]

GRACE_SECONDS = 5
LAST_SECONDS = 0.1
"""For how long connections are still accepted: who has connected just before would be cut off without an answer."""


@dataclass(frozen=True, slots=True)
class Service:
    """An application, where it is served, and what it takes on. `refusals` is told of peers that are not let in."""

    app: ASGIApp
    listeners: Sequence[Listener]
    limits: Limits
    refusals: Refusals | None = None


class Stop:
    """Stops serving when it is called, from any thread. At the second time it does not wait for requests."""

    def __init__(self) -> None:
        self._servers: Sequence[_Server] = ()
        self._times = 0

    def __call__(self) -> None:
        """Stop."""
        self._times += 1
        self._tell()

    def serves(self, servers: Sequence[_Server]) -> None:
        """Note the servers to be stopped."""
        self._servers = servers
        self._tell()

    def _tell(self) -> None:
        for server in self._servers if self._times else ():
            server.end(at_once=self._times > 1)


class _Server(uvicorn.Server):
    """uvicorn's server, but it accepts connections itself, reports when it serves, and does not handle signals.

    asyncio's way to accept logs thousands of lines and takes a core when there are no descriptors left. uvicorn raises
    a signal again after it has stopped, which would end the process before its caller has cleaned up.
    """

    def __init__(self, service: Service, on_started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                service.app,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._service, self._on_started = service, on_started
        self._connections = Connections(service.limits)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()

    def end(self, *, at_once: bool) -> None:
        """Stop serving, from any thread; `at_once`: without waiting for requests."""
        self.force_exit, self.should_exit = at_once, True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
                self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Wait until told to end. uvicorn looks ten times a second whether it was."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # sets the date of answers, which is exact to a second
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._told.wait()
        await asyncio.sleep(LAST_SECONDS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 (they are known)
        await self.lifespan.startup()
        self.servers = [self._acceptor(one) for one in self._service.listeners]  # type: ignore[misc]
        self.started = True
        self._on_started()

    def _acceptor(self, listener: Listener) -> Acceptor:
        def made(peer: Actor) -> Connection:
            self.config.timeout_keep_alive = math.ceil(self._service.limits.idle_seconds)  # it may change
            return Connection(
                self.config,
                self.server_state,
                self.lifespan.state,
                connections=self._connections,
                peer=peer,
                tls=listener.tls,
            )

        return Acceptor(listener, made, self._connections, self._service.refusals)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(services: Sequence[Service], *, stop: Stop, on_started: Callable[[], None]) -> None:
    """Serve until `stop`, then let requests finish for up to 5 s and return.

    `on_started` is called once all of them answer requests. The listeners are closed at the end.
    """
    starting = len(services)

    def started() -> None:
        nonlocal starting
        starting -= 1
        if not starting:
            on_started()

    servers = [_Server(service, started) for service in services]
    stop.serves(servers)
    listeners = [listener for service in services for listener in service.listeners]
    try:
        async with asyncio.TaskGroup() as group:
            for server, service in zip(servers, services, strict=True):
                group.create_task(server.serve(sockets=[one.socket for one in service.listeners]))
    finally:
        for listener in listeners:
            listener.close()


async def serve_in_thread(
    services: Sequence[Service],
    *,
    stop: Stop,
    on_started: Callable[[], None],
    on_loop: Callable[[asyncio.AbstractEventLoop], None],
) -> None:
    """Serve as `serve` does, in a thread and an event loop of its own, until `stop`; return when that has ended.

    `on_started` is called in the caller's event loop, which goes on beside it, and before that, in the thread,
    `on_loop` with the thread's own. Cancelling this stops it, too.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        def told() -> None:
            loop.call_soon_threadsafe(on_started)

        try:
            with asyncio.Runner(loop_factory=new_paced_loop) as runner:
                on_loop(runner.get_loop())
                runner.run(serve(services, stop=stop, on_started=told))
        except BaseException as error:
            loop.call_soon_threadsafe(ended.set_exception, error)
        else:
            loop.call_soon_threadsafe(ended.set_result, None)

    threading.Thread(target=run, name="xdplb-api", daemon=True).start()
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        stop()
        await ended
        raise
