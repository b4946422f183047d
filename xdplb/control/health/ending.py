"""The end of a check's connection: the backend sees a request, takes its time, and then a FIN.

A server that is reading or writing when a RST arrives logs an error, some with a traceback, at every check. So what is
sent is read to its end before the socket is closed: closing a socket that holds unread data sends a RST too. Nearly all
servers end within a millisecond. The others are waited for in a task, so that they do not hold up the result.

Whoever sends its FIN first keeps the connection in TIME_WAIT for a minute. For http that is the server, which was asked
to close. For tcp it is this host: a local port can then not be used for that address and port, but for all others. Only
where so many connections to one address and port have ended that its ports would run out do the others end with a RST.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h11

__all__ = ["PortBudget", "end_connection", "reset_on_close"]

_AT_ONCE_SECONDS = 0.05
_READ_BYTES = 16384
_MOST_BYTES = 1 << 20
_MOST_WAITING = 4096
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, for no time

_TIME_WAIT_SECONDS = 60.0
_PART_OF_PORTS = 4  # a count of one minute may be followed at once by that of the next
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DEFAULT_RANGE = (32768, 60999)

_waiting: set[asyncio.Task[None]] = set()


class PortBudget:
    """How many connections to each address and port may end with our FIN first, within a minute."""

    def __init__(self, most: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._read_most, self._clock = most, clock
        self._began = -math.inf
        self._most = 0
        self._ended: Counter[tuple[object, ...]] = Counter()

    def take(self, peer: tuple[object, ...]) -> bool:
        """Count one more connection to `peer`; return whether it may stay in TIME_WAIT."""
        if self._clock() - self._began >= _TIME_WAIT_SECONDS:
            self._ended.clear()
            self._began, self._most = self._clock(), self._read_most()
        self._ended[peer] += 1
        return self._ended[peer] <= self._most


def _most_in_time_wait() -> int:
    try:
        low, high = map(int, _PORT_RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        low, high = _DEFAULT_RANGE
    return max(1, (high - low + 1) // _PART_OF_PORTS)


_budget = PortBudget(_most_in_time_wait)


def reset_on_close(sock: socket.socket) -> None:
    """Let closing this socket send a RST, which leaves nothing in TIME_WAIT on either side."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


async def end_connection(sock: socket.socket, http: h11.Connection | None, seconds: float) -> None:
    """End a connection and close its socket; `http` is the state of a request on it.

    It returns within 50 ms. A server that needs longer is waited for in a task, for `seconds` at most, and until it has
    sent 1 MiB; then the socket is closed all the same.
    """
    ending = _Ending(sock, http)
    try:
        async with asyncio.timeout(_AT_ONCE_SECONDS):
            if http is None:
                ending.send_fin()
            await ending.until_closed()
    except TimeoutError:
        if not ending.is_over_by_now() and len(_waiting) < _MOST_WAITING:
            task = asyncio.create_task(ending.take_leave(seconds))
            _waiting.add(task)
            task.add_done_callback(_waiting.discard)
            return
    except OSError:
        pass  # the peer's RST ends it too
    except BaseException:
        sock.close()
        raise
    sock.close()


class _Ending:
    """What is left to read of a connection."""

    def __init__(self, sock: socket.socket, http: h11.Connection | None) -> None:
        self._sock, self._http = sock, http
        self._left = _MOST_BYTES
        self._is_answered = http is None
        self._is_over = self._said_fin = False
        self._look_for_end(b"")

    async def until_closed(self) -> None:
        """Read until the server has closed the connection, or has sent too much."""
        while not self._is_over:
            await self._read()

    def is_over_by_now(self) -> bool:
        """Read what is there; return whether the server has closed. On a busy host a timeout may come first."""
        try:
            while not self._is_over:
                self._take_in(self._sock.recv(_READ_BYTES))
        except BlockingIOError:
            return False
        except OSError:
            pass  # the peer's RST ends it too
        return True

    async def take_leave(self, seconds: float) -> None:
        """Read the answer to its end, send a FIN, wait for the server's, and close the socket; all in `seconds`."""
        with self._sock, contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(seconds):
                while not (self._is_answered or self._is_over):
                    await self._read()
                self.send_fin()
                await self.until_closed()

    def send_fin(self) -> None:
        """Say that nothing more will be sent."""
        if self._is_over or self._said_fin:
            return
        self._said_fin = True
        if _budget.take(self._sock.getpeername()[:2]):
            self._sock.shutdown(socket.SHUT_WR)
        else:
            reset_on_close(self._sock)
            self._is_over = True

    async def _read(self) -> None:
        self._take_in(await asyncio.get_running_loop().sock_recv(self._sock, _READ_BYTES))
        if not self._is_over:
            await asyncio.sleep(0)  # data that is there is read without yielding, and no timeout would fire

    def _take_in(self, data: bytes) -> None:
        self._left -= len(data)
        self._is_over = not data or self._left < 0
        if not self._is_over:
            self._look_for_end(data)

    def _look_for_end(self, data: bytes) -> None:
        """Note whether the answer ends with this data."""
        if self._is_answered or self._http is None:
            return
        try:
            if data:
                self._http.receive_data(data)
            while (event := self._http.next_event()) is not h11.NEED_DATA:
                if not isinstance(event, (h11.InformationalResponse, h11.Response, h11.Data)):
                    self._is_answered = True
                    return
        except h11.ProtocolError:
            self._is_answered = True  # where what is not HTTP would end is not known
