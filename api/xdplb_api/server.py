"""Serving the application until it is told to stop: in the caller's event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from .acceptor import Acceptor
from .connections import Connection, Connections
from .limits import Limits
from .listener import Listener
from .middleware import LoopbackOnly
from .pace import new_paced_loop

__all__ = ["Stop", "serve", "serve_in_thread"]

GRACE_SECONDS = 5


class Stop:
    """Stops serving when it is called, from any thread. At the second time it does not wait for requests."""

    def __init__(self) -> None:
        self._server: uvicorn.Server | None = None
        self._times = 0

    def __call__(self) -> None:
        """Stop."""
        self._times += 1
        self._tell()

    def serves(self, server: uvicorn.Server) -> None:
        """Note the server to be stopped."""
        self._server = server
        self._tell()

    def _tell(self) -> None:
        if self._server is not None and self._times:
            self._server.force_exit = self._times > 1
            self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn's server, but it accepts connections itself, reports when it serves, and does not handle signals.

    asyncio's way to accept logs thousands of lines and takes a core when there are no descriptors left. uvicorn raises
    a signal again after it has stopped, which would end the process before its caller has cleaned up.
    """

    def __init__(self, config: uvicorn.Config, limits: Limits, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._connections, self._limits, self._on_started = Connections(limits), limits, on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = [Acceptor(one, self._connection, self._connections) for one in sockets or ()]  # type: ignore[misc]
        self.started = True
        self._on_started()

    def _connection(self) -> Connection:
        self.config.timeout_keep_alive = math.ceil(self._limits.idle_seconds)
        return Connection(self.config, self.server_state, self.lifespan.state, connections=self._connections)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: ASGIApp, listener: Listener, *, limits: Limits, stop: Stop, on_started: Callable[[], None]
) -> None:
    """Serve `app` on `listener` until `stop`, then let requests finish for up to 5 s and return.

    `on_started` is called once requests are answered. The listener is closed at the end.
    """
    if listener.path is None:
        app = LoopbackOnly(app)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, limits, on_started)
    stop.serves(server)
    try:
        await server.serve(sockets=[listener.socket])
    finally:
        listener.close()


async def serve_in_thread(
    app: ASGIApp,
    listener: Listener,
    *,
    limits: Limits,
    stop: Stop,
    on_started: Callable[[], None],
    on_loop: Callable[[asyncio.AbstractEventLoop], None],
) -> None:
    """Serve `app` as `serve` does, in a thread and an event loop of its own, until `stop`; return when that has ended.

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
                runner.run(serve(app, listener, limits=limits, stop=stop, on_started=told))
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
