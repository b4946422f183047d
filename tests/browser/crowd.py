# SPDX-License-Identifier: Apache-2.0
"""What the hosts of the live tests run: services, and clients that never stop asking them.

    crowd.py serve VIP:PORT...                     HTTP on the ports; names (DNS) at each address with port 53
    crowd.py ask SERVICE@ADDRESS:PORT@RATE...      SERVICE is http, dns or syn; RATE is how many a second

An HTTP client sends a few requests by a connection, some with a body, and then opens another. `syn` only begins to
connect, again and again, as somebody does whom the VIP keeps out. Rates rise and fall slowly, as real ones do.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import count

import dns.message
import dns.rrset

SECONDS = 10.0
MOST_BODY = 24_000
_SOURCES = {"syn": "198.51.100.66"}
"""Where a client comes from, if it is not the host's first address."""


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests until the client has no more."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
            await writer.drain()
    writer.close()


def serve_names(address: str) -> None:
    """Answer every query with one address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering:
        answering.bind((address, 53))
        while True:
            data, client = answering.recvfrom(2048)
            query = dns.message.from_wire(data)
            answer = dns.message.make_response(query)
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.80"))
            answering.sendto(answer.to_wire(), client)


async def serve(places: list[tuple[str, int]]) -> None:
    for address in {address for address, port in places if port == 53}:
        threading.Thread(target=serve_names, args=(address,), daemon=True).start()
    for port in {port for _, port in places if port != 53}:
        await asyncio.start_server(serve_http, "", port, backlog=1024)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def ask_http(address: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(address, port)
    for _ in range(random.randint(1, 4)):
        body = bytes(random.choice((0, 0, 0, random.randint(0, MOST_BODY))))
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"ok\n")
    writer.close()
    await writer.wait_closed()


async def ask_dns(address: str, port: int) -> None:
    def ask() -> None:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.sendto(QUERY, (address, port))

    ask()  # the answer may come or not: nobody waits for it


QUERY = dns.message.make_query("www.example.com", "A").to_wire()


async def ask_in_vain(address: str, port: int) -> None:
    await asyncio.open_connection(address, port, local_addr=(_SOURCES["syn"], 0))


KINDS: dict[str, Callable[[str, int], Awaitable[None]]] = {"http": ask_http, "dns": ask_dns, "syn": ask_in_vain}


async def once(kind: str, address: str, port: int) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(SECONDS):
            await KINDS[kind](address, port)


async def ask(kind: str, address: str, port: int, rate: float) -> None:
    """Ask at about this rate for ever."""
    phase, running = random.uniform(0, 2 * math.pi), set()
    for _ in count():
        now = rate * (1 + 0.35 * math.sin(time.monotonic() / 17 + phase) + 0.15 * math.sin(time.monotonic() / 4.3))
        await asyncio.sleep(random.expovariate(now))
        task = asyncio.create_task(once(kind, address, port))
        running.add(task)
        task.add_done_callback(running.discard)


async def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "serve":
        await serve(
            [(address.strip("[]"), int(port)) for address, _, port in (each.rpartition(":") for each in arguments)]
        )
    else:
        asked = []
        for kind, place, rate in (each.split("@") for each in arguments):
            address, _, port = place.rpartition(":")
            asked.append(ask(kind, address.strip("[]"), int(port), float(rate)))
        await asyncio.gather(*asked)


if __name__ == "__main__":
    asyncio.run(main())
