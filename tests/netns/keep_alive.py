# SPDX-License-Identifier: Apache-2.0
"""Sends requests without a pause, over connections that are kept and over new ones; tells what failed. No retries.

    keep_alive.py ADDRESS SECONDS_BETWEEN KEPT NEW    until SIGTERM, then a JSON object on stdout

KEPT clients keep their connections for as long as the server does, half of them by TLS; NEW ones take a new one each.
As all clients do, one that finds its idle connection closed takes another one before it sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What came of the requests: who answered, and each failure in words."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    longest: float = 0.0


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.ends = False

    async def ask(self, host: str) -> str:
        """Send a request and return the body of the answer; OSError or EOFError if that fails."""
        self.writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        self.ends = headers.get("connection") == "close"
        if " 200 " not in head[0]:
            raise OSError(head[0])
        return body.decode().strip()


async def connect(address: str, *, tls: bool) -> Connection:
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Connection(*await asyncio.open_connection(address, 443 if tls else 80, ssl=context))


async def client(tally: Tally, address: str, *, pause: float, kept: bool, tls: bool) -> None:
    connection: Connection | None = None
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(20):
                if connection is None or connection.ends or connection.reader.at_eof():
                    if connection is not None:
                        connection.writer.transport.abort()
                    connection = await connect(address, tls=tls)
                    tally.connections += 1
                tally.answers[await connection.ask(address)] += 1
                connection.ends |= not kept
        except (OSError, EOFError, ssl.SSLError, TimeoutError, ValueError) as error:
            tally.failures[f"{'kept' if kept else 'new'} {'tls' if tls else 'plain'}: {error!r}"] += 1
            connection = None
        tally.longest = max(tally.longest, time.monotonic() - began)
        await asyncio.sleep(pause)


async def main(address: str, pause: float, kept: int, new: int) -> None:
    tally, done = Tally(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    tasks = [
        asyncio.create_task(client(tally, address, pause=pause, kept=number < kept, tls=number % 2 == 0))
        for number in range(kept + new)
    ]
    print("started", flush=True)
    await done.wait()
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(vars(tally)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
