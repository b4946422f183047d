# SPDX-License-Identifier: Apache-2.0
"""Connections through a VIP, as a script of its own: `load.py PORT LONG RATE SECONDS ADDRESS…`.

LONG connections stay until the end; RATE new ones are made a second, and each stays for SECONDS on average. All of them
say something every second and must be answered by the backend that they began with. They go to each ADDRESS in turn.

The script writes `up` when the long ones are connected. When its stdin is closed it makes no more connections, lets all
say one more thing, and writes a line of JSON: what became of them, and what broke.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

TICK_SECONDS = 0.02
SAY_SECONDS = 1.0
CONNECT_SECONDS = 20.0
ANSWER_SECONDS = 20.0
"""Some retransmissions of TCP: a packet that a lost balancer swallowed is no broken connection."""

CONNECTS_AT_ONCE = 50


@dataclass
class Tally:
    """What became of all connections."""

    made: int = 0
    ended: int = 0
    broken: list[dict[str, object]] = field(default_factory=list)
    backends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


class Talk(asyncio.Protocol):
    """One connection: it is told the backend's name, then says numbers, which must come back."""

    def __init__(self, tally: Tally, kind: str, ends: float) -> None:
        self.tally, self.kind, self.ends = tally, kind, ends
        self.began = self.said = time.monotonic()
        self.backend = ""
        self.over = False
        self._number = 0
        self._waiting = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the name."""
        self._transport = cast("asyncio.Transport", transport)
        self.tally.made += 1

    def data_received(self, data: bytes) -> None:
        """Take an answer."""
        self.tally.slowest = max(self.tally.slowest, time.monotonic() - self.said)
        if not self.backend:
            self.backend = data.decode().strip()
            self.tally.backends[self.backend] += 1
        elif data != str(self._number).encode():
            self.fail(f"wrong answer {data!r}")
        self._waiting = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a connection that ended before it was over."""
        if not self.over:
            self.fail(type(exc).__name__ if exc is not None else "closed")

    def tick(self, now: float, *, last: bool = False) -> None:
        """Say the next thing if it is time, end if it is over, give up if there was no answer."""
        if self._waiting:
            if now > self.said + ANSWER_SECONDS:
                self.fail("no answer")
        elif now > self.ends:
            self.over = True
            self.tally.ended += 1
            self._transport.close()
        elif last or now > self.said + SAY_SECONDS:
            self.said, self._waiting = now, True
            self._number += 1
            self._transport.write(str(self._number).encode())

    @property
    def settled(self) -> bool:
        """Whether it waits for nothing."""
        return self.over or not self._waiting

    def fail(self, why: str) -> None:
        """Count it as broken."""
        if not self.over:
            self.over = True
            port = (self._transport.get_extra_info("sockname") or ("", 0))[1]
            broken = {"kind": self.kind, "backend": self.backend, "why": why, "port": port}
            self.tally.broken.append(broken | {"began": self.began, "at": time.monotonic()})
            self._transport.abort()


class Load:
    """All connections."""

    def __init__(self, port: int, addresses: list[str]) -> None:
        self._port, self._addresses = port, itertools.cycle(addresses)
        self._talks: list[Talk] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self.tally = Tally()

    async def connect(self, kind: str, seconds: float) -> None:
        """Make a connection that stays for some seconds."""
        began = time.monotonic()
        loop, address = asyncio.get_running_loop(), next(self._addresses)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, talk = await loop.create_connection(
                    lambda: Talk(self.tally, kind, began + seconds), address, self._port
                )
        except (OSError, TimeoutError) as error:
            why = f"not made: {error!r}"
            broken: dict[str, object] = {"kind": kind, "backend": "", "why": why, "port": 0}
            self.tally.broken.append(broken | {"began": began, "at": time.monotonic()})
        else:
            self._talks.append(talk)

    async def connect_long(self, count: int) -> None:
        """Make the connections that stay until the end."""
        for start in range(0, count, CONNECTS_AT_ONCE):
            batch = range(start, min(count, start + CONNECTS_AT_ONCE))
            await asyncio.gather(*(self.connect("long", float("inf")) for _ in batch))

    async def run(self, rate: float, seconds: float, stop: asyncio.Event) -> None:
        """Make new connections, and have all say something, until `stop`; then until all have been answered."""
        due = time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            while rate and due < now:
                due += 1 / rate
                task = asyncio.ensure_future(self.connect("new", random.expovariate(1 / seconds)))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)
            self._tick(now)
            await asyncio.sleep(TICK_SECONDS)
        await asyncio.gather(*self._connecting)
        for talk in self._talks:
            talk.tick(time.monotonic(), last=True)
        while not all(talk.settled for talk in self._talks):
            self._tick(time.monotonic())
            await asyncio.sleep(TICK_SECONDS)

    def open(self) -> int:
        """Return how many connections are open."""
        return sum(not talk.over for talk in self._talks)

    def _tick(self, now: float) -> None:
        for talk in self._talks:
            if not talk.over:
                talk.tick(now)
        self._talks = [talk for talk in self._talks if not talk.over]


async def _until_stdin_ends(stop: asyncio.Event) -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stop.set()


async def main(port: int, long: int, rate: float, seconds: float, addresses: list[str]) -> None:
    """Run until stdin is closed."""
    load, stop = Load(port, addresses), asyncio.Event()
    await load.connect_long(long)
    waiting = asyncio.ensure_future(_until_stdin_ends(stop))
    print("up", flush=True)
    await load.run(rate, seconds, stop)
    await waiting
    tally = load.tally
    told = {"made": tally.made, "ended": tally.ended, "open": load.open(), "broken": tally.broken}
    print(json.dumps(told | {"backends": tally.backends, "slowest": tally.slowest}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]))
