# SPDX-License-Identifier: Apache-2.0
"""The load of `scripts/demo rolling`, in the client's namespace: `python -m demo.rolling_load ADDRESS PORT`.

Runs until its stdin is closed, ends what it has begun, and writes a line of JSON: of each kind, how many there were and
what went wrong.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from .rolling_service import ID_BYTES, LONG_HEADER, QUIC_PORT, UNKNOWN
from .web import download

__all__ = ["KINDS"]

ANSWER_SECONDS = 1.0
TRIES = 4
DOWNLOAD_BYTES = 100_000
SESSION_SECONDS = 2.0
PAUSE_SECONDS = 0.1
VERSION_1 = b"\x00\x00\x00\x01"


class FailedError(Exception):
    """A request, a connection or a session that went wrong."""


class Datagrams(asyncio.DatagramProtocol):
    """A UDP socket that asks and waits for the answer."""

    def __init__(self) -> None:
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own is none by its class

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Keep an answer."""
        del addr
        self._answers.put_nowait(data)

    async def ask(self, said: bytes) -> bytes:
        """Return the answer; what is lost is sent again."""
        assert self._transport is not None
        for _ in range(TRIES):
            self._transport.sendto(said)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await self._answers.get()
            except TimeoutError:
                continue
            if answer == UNKNOWN:
                raise FailedError("the backend does not know the session")
            return answer
        raise FailedError("no answer")


@asynccontextmanager
async def datagrams(address: str, port: int) -> AsyncIterator[Datagrams]:
    """Yield a new socket."""
    transport, asking = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, remote_addr=(address, port)
    )
    try:
        yield asking
    finally:
        transport.close()


async def request(address: str, port: int) -> None:
    """Make a short request of HTTP, in a new connection."""
    await _get(address, port, "/", seconds=5.0)
    await asyncio.sleep(PAUSE_SECONDS)


async def long_connection(address: str, port: int) -> None:
    """Download something that takes some seconds, and compare it."""
    seconds = random.uniform(2, 6)  # noqa: S311  # a load
    body = await _get(address, port, f"/download?bytes={DOWNLOAD_BYTES}&seconds={seconds}", seconds=seconds + 10)
    if body != download(DOWNLOAD_BYTES):
        raise FailedError(f"{len(body)} of {DOWNLOAD_BYTES} bytes")


async def _get(address: str, port: int, path: str, *, seconds: float) -> bytes:
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise FailedError(f"answered {head[:40]!r}")
    return body


async def udp_session(address: str, port: int) -> None:
    """Talk to one backend from one port."""
    async with datagrams(address, port) as asking:
        name = await asking.ask(b"begin")
        for _ in range(round(SESSION_SECONDS / PAUSE_SECONDS)):
            await asyncio.sleep(PAUSE_SECONDS)
            if (other := await asking.ask(b"more")) != name:
                raise FailedError(f"{other.decode()} answered for {name.decode()}")


async def quic_connection(address: str, _: int) -> None:
    """Talk as QUIC does, and change to another port in between, which leaves the connection ID as it is."""
    async with datagrams(address, QUIC_PORT) as asking:
        hello = bytes([LONG_HEADER | 0x40]) + VERSION_1 + bytes([ID_BYTES]) + secrets.token_bytes(ID_BYTES) + b"\x00"
        answer = await asking.ask(hello + bytes(20))
        connection, name = answer[:ID_BYTES], answer[ID_BYTES:]
        await _talk(asking, connection, name)
    async with datagrams(address, QUIC_PORT) as asking:
        await _talk(asking, connection, name)


async def _talk(asking: Datagrams, connection: bytes, name: bytes) -> None:
    for _ in range(round(SESSION_SECONDS / PAUSE_SECONDS / 2)):
        await asyncio.sleep(PAUSE_SECONDS)
        if await asking.ask(b"\x40" + connection + bytes(20)) != name:
            raise FailedError("another backend answered")


Kind = Callable[[str, int], Awaitable[None]]
KINDS: dict[str, tuple[Kind, int]] = {
    "requests, each a new connection": (request, 8),
    "long connections (2 to 6 s)": (long_connection, 12),
    "UDP sessions (2 s)": (udp_session, 16),
    "QUIC-like connections (2 s, two ports)": (quic_connection, 16),
}
"""What there is, and how many at a time."""


async def main(address: str, port: int) -> None:
    """Run the load."""
    done = dict.fromkeys(KINDS, 0)
    failed: dict[str, list[str]] = {name: [] for name in KINDS}
    over = asyncio.Event()

    async def repeat(name: str, kind: Kind) -> None:
        await asyncio.sleep(random.uniform(0, SESSION_SECONDS))  # noqa: S311  # a load
        while not over.is_set():
            try:
                await kind(address, port)
            except (FailedError, OSError, TimeoutError) as error:
                failed[name].append(str(error) or type(error).__name__)
            done[name] += 1

    running = [asyncio.create_task(repeat(name, kind)) for name, (kind, count) in KINDS.items() for _ in range(count)]
    await asyncio.to_thread(sys.stdin.read)
    over.set()
    await asyncio.gather(*running)
    print(json.dumps({name: {"done": done[name], "failed": failed[name]} for name in KINDS}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
