# SPDX-License-Identifier: Apache-2.0
"""The end of a check's connection: the backend sees a request, takes its time, and then a FIN.

A server that is reading or writing when a RST arrives logs an error, some with a traceback, at every check. So what is
sent is read to its end before the socket is closed: closing a socket that holds unread data sends a RST too.

Whoever sends its FIN first keeps the connection in TIME_WAIT for a minute. For http that is the server, which was asked
to close. For tcp it is this host: a local port can then not be used for that address and port, but for all others. Only
where so many connections to one address and port have ended that its ports would run out do the others end with a RST.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

__all__ = ["AT_ONCE_SECONDS", "MOST_BYTES", "PortBudget", "most_in_time_wait", "patience", "reset_on_close"]

AT_ONCE_SECONDS = 0.05
"""How long a server that was asked to close is waited for before this host closes first."""
MOST_BYTES = 1 << 20
"""How much of what a server sends is read before its connection is closed all the same."""
_LEAST_PATIENCE_SECONDS = 1.0  # a short timeout is about how fast a backend answers, not about how it closes
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, for no time

_TIME_WAIT_SECONDS = 60.0
_PART_OF_PORTS = 4  # a count of one minute may be followed at once by that of the next
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DEFAULT_RANGE = (32768, 60999)


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


def most_in_time_wait() -> int:
    """Return how many connections to one address and port may be left in TIME_WAIT a minute, as far as ports go."""
    try:
        low, high = map(int, _PORT_RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        low, high = _DEFAULT_RANGE
    return max(1, (high - low + 1) // _PART_OF_PORTS)


def patience(timeout_seconds: float) -> float:
    """Return for how many seconds a server may take to end the connection of a check with this timeout."""
    return max(timeout_seconds, _LEAST_PATIENCE_SECONDS)


def reset_on_close(sock: socket.socket) -> None:
    """Let closing this socket send a RST, which leaves nothing in TIME_WAIT on either side."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
