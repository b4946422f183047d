# SPDX-License-Identifier: Apache-2.0
"""A gate between a client and a server on TCP: it may be slow, hold everything back, lose answers, or be closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Gate", "open_gate"]


class Gate:
    """Passes bytes on both ways. What it does may be changed at any time, also for open connections."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.place = ""
        """Where it listens, as HOST:PORT."""
        self.delay = 0.0
        """By how many seconds answers are late."""
        self.loses_answers = False
        """Whether answers vanish, while requests arrive."""
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[asyncio.Task[None]] = set()

    def hold(self) -> None:
        """Have nothing pass any more, as if a cable were cut: nobody is told."""
        self._open.clear()

    def release(self) -> None:
        """Let everything pass again."""
        self._open.set()

    async def start(self) -> None:
        """Listen: at first at any port, later at the same one again."""
        host, _, port = (self.place or "127.0.0.1:0").rpartition(":")
        self._server = await asyncio.start_server(self._serve, host, int(port))
        name = self._server.sockets[0].getsockname()
        self.place = f"{name[0]}:{name[1]}"

    async def close(self) -> None:
        """Refuse connections, and break off those that are open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        host, _, port = self._target.rpartition(":")
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection(host, int(port))
                try:
                    both = (self._pass(reader, back, is_answer=False), self._pass(there, writer, is_answer=True))
                    await asyncio.gather(*both)
                finally:
                    back.close()
        finally:
            writer.close()
            self._connections.discard(task)

    async def _pass(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, is_answer: bool) -> None:
        while data := await source.read(1 << 16):
            await self._open.wait()
            if is_answer:
                await asyncio.sleep(self.delay)
                if self.loses_answers:
                    continue
            to.write(data)
            await to.drain()
        to.close()


@asynccontextmanager
async def open_gate(target: str) -> AsyncIterator[Gate]:
    """Yield a gate to `target`, HOST:PORT."""
    gate = Gate(target)
    await gate.start()
    try:
        yield gate
    finally:
        await gate.close()
