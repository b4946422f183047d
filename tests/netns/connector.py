# SPDX-License-Identifier: Apache-2.0
"""Opens TCP connections at a rate, says nothing on them but one request, and closes them: HOST PORT RATE SECONDS."""

from __future__ import annotations

import asyncio
import contextlib
import sys

TIMEOUT = 3.0


async def connect(host: str, port: int) -> None:
    """Open a connection, send a request, and read the answer; whatever becomes of it."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            await reader.read()
            writer.close()
            await writer.wait_closed()


async def main() -> None:
    """Open connections until the time is over; each in a task of its own, so that one that hangs delays no other."""
    host, port, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    loop = asyncio.get_running_loop()
    began, tasks = loop.time(), set()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(began + number / rate - loop.time())
        task = asyncio.create_task(connect(host, port))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
