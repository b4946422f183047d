"""Serving the application until the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Collection, Iterator

import uvicorn
from starlette.types import ASGIApp

from .listener import Listener, listen
from .middleware import LoopbackOnly
from .peer import PeerProtocol

__all__ = ["serve"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signals that end it, if none are given."""
GRACE_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn's server, but it reports when it serves, and does not handle signals.

    uvicorn raises a signal again after it has stopped, which would end the process before its caller has cleaned up.
    """

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_started is not None:
            self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: ASGIApp,
    where: str | Listener,
    *,
    on_started: Callable[[], None] | None = None,
    on_stopping: Callable[[int], None] | None = None,
    stop_signals: Collection[int] = STOP_SIGNALS,
) -> None:
    """Serve `app` on `where` until one of `stop_signals`, then let requests finish for up to 5 s and return.

    `where` is `unix:PATH`, `HOST:PORT` or what `listen` returned; it is closed at the end. `on_started` is called
    once requests are answered, `on_stopping` at the signal, with its number, to end endless answers. After a second
    signal it does not wait for requests. Cancelling the task has the same effect as a signal.
    """
    listener = where if isinstance(where, Listener) else listen(where)
    if listener.path is None:
        app = LoopbackOnly(app)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, on_started)
    try:
        with _stopped_by_signals(server, on_stopping, stop_signals):
            await server.serve(sockets=[listener.socket])
    finally:
        listener.close()


@contextlib.contextmanager
def _stopped_by_signals(
    server: uvicorn.Server, on_stopping: Callable[[int], None] | None, numbers: Collection[int]
) -> Iterator[None]:
    """Stop `server` at these signals while the block runs. Afterwards they have the handlers of before."""
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        if on_stopping is not None:
            on_stopping(number)

    with contextlib.ExitStack() as handlers:
        for number in numbers:
            # Only the main thread gets signals; elsewhere (in tests) the caller cancels.
            with contextlib.suppress(RuntimeError, ValueError):
                before = signal.getsignal(number)
                loop.add_signal_handler(number, stop, number)
                handlers.callback(signal.signal, number, before)
                handlers.callback(loop.remove_signal_handler, number)
        yield
