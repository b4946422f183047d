# SPDX-License-Identifier: Apache-2.0
"""Connections for the traffic tests, long and short ones.

    talker.py serve NAME PORT...             sends NAME on each new connection, and as the answer to every line
    talker.py talk ADDRESS PORT COUNT        holds COUNT connections open and sends a line on each now and then
    talker.py open ADDRESS PORT...           opens a connection every few ms, to each port in turn, and soon closes it

`talk` writes a line of JSON for each connection that broke: which backend had it, when it was opened and when it broke
(CLOCK_MONOTONIC), and why. It then opens another one. On SIGTERM it writes how many are open. `open` writes on SIGTERM
how many there were for each port, and which failed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import sys
import time

MOST_SILENT_SECONDS = 2.5
ANSWER_SECONDS = 20
OPEN_EVERY_SECONDS = 0.008


async def serve(name: str, ports: list[int]) -> None:
    greeting = f"{name}\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        try:
            while await reader.readline():
                writer.write(greeting)
        except ConnectionError:
            pass
        finally:
            writer.close()

    servers = [await asyncio.start_server(answer, "", port, backlog=1024) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def read_line(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(ANSWER_SECONDS):
        line = await reader.readline()
    if not line:
        raise ConnectionError("closed")
    return line.decode().strip()


class Talk:
    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._open: dict[int, str] = {}
        self._said = 0
        self._opened = 0
        self._attempts_failed = 0

    async def hold(self, number: int) -> None:
        """Keep one connection open for as long as it lasts, and then the next."""
        while True:
            opened = time.monotonic()
            try:
                reader, writer = await asyncio.open_connection(self._address, self._port)
                name = await read_line(reader)
            except (OSError, TimeoutError):
                self._attempts_failed += 1
                await asyncio.sleep(0.1)
                continue
            self._open[number] = name
            self._opened += 1
            why = await self._talk(name, reader, writer)
            del self._open[number]
            broken = {"backend": name, "opened": opened, "broken": time.monotonic(), "why": why}
            print(json.dumps(broken), flush=True)
            writer.close()

    async def _talk(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Talk until something goes wrong, and return what."""
        while True:
            await asyncio.sleep(random.uniform(0.02, MOST_SILENT_SECONDS))
            try:
                writer.write(b"?\n")
                answer = await read_line(reader)
            except (OSError, TimeoutError) as error:
                return repr(error)
            if answer != name:
                return f"{answer!r} answered"
            self._said += 1

    def summary(self) -> dict[str, object]:
        there = list(self._open.values())
        return {
            "open": {name: there.count(name) for name in set(there)},
            "opened": self._opened,
            "said": self._said,
            "attempts_failed": self._attempts_failed,
        }


async def try_once(address: str, port: int) -> str:
    """Open a connection, say a line, close it; return what went wrong, or nothing."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
            name = await read_line(reader)
            writer.write(b"?\n")
            answer = await read_line(reader)
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        return f"{time.monotonic():.3f}: {error!r}"
    return "" if answer == name else f"{answer} answered, not {name}"


async def open_many(address: str, ports: list[int]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tries: list[tuple[int, asyncio.Task[str]]] = []
    for port in itertools.cycle(ports):
        tries.append((port, asyncio.create_task(try_once(address, port))))
        await asyncio.sleep(OPEN_EVERY_SECONDS)
        if stop.is_set():
            break
    told = [(port, await task) for port, task in tries]
    opened = {port: sum(other == port for other, _ in told) for port in ports}
    print(json.dumps({"opened": opened, "failed": [(port, why) for port, why in told if why]}), flush=True)


async def talk(address: str, port: int, count: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    talk = Talk(address, port)
    tasks = [asyncio.create_task(talk.hold(number)) for number in range(count)]
    await stop.wait()
    print(json.dumps(talk.summary()), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "serve":
        name, *ports = arguments
        asyncio.run(serve(name, [int(port) for port in ports]))
    elif what == "open":
        address, *ports = arguments
        asyncio.run(open_many(address, [int(port) for port in ports]))
    else:
        address, port, count = arguments
        asyncio.run(talk(address, int(port), int(count)))


if __name__ == "__main__":
    main()
