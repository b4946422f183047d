# SPDX-License-Identifier: Apache-2.0
"""Opens a connection to a VIP every few ms, and says on SIGTERM when none came about: `prober.py ADDRESS PORT`.

A line of JSON: `opened`, how many did, and `gaps`, each [seconds since the start, seconds]: the time from the first
attempt without an answer to the next one that got it. An attempt counts if its first SYN is answered. A prober that
the host keeps waiting makes no gap, since it tries nothing.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass

EVERY_SECONDS = 0.005
ANSWER_SECONDS = 0.5
"""TCP sends its SYN again after a second; an answer to that one does not count."""


@dataclass
class Attempt:
    """One SYN, and whether its answer came."""

    at: float
    connecting: socket.socket | None
    opened: bool = False

    def end(self) -> None:
        if self.connecting is not None:
            self.connecting.close()
        self.connecting = None


def gaps(attempts: list[Attempt]) -> list[tuple[float, float]]:
    """Return when attempts got no answer, and for how long."""
    found: list[tuple[float, float]] = []
    lost: float | None = None
    for attempt in attempts:
        if attempt.opened:
            if lost is not None:
                found.append((lost, attempt.at - lost))
            lost = None
        elif lost is None:
            lost = attempt.at
    if lost is not None:
        found.append((lost, attempts[-1].at - lost))
    return found


class Prober:
    """The attempts so far."""

    def __init__(self, address: str, port: int) -> None:
        self._address = (address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._poll = select.epoll()
        self._waiting: dict[int, Attempt] = {}
        self._start = time.monotonic()
        self.attempts: list[Attempt] = []

    def try_once(self) -> None:
        """Send a SYN."""
        connecting = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        attempt = Attempt(time.monotonic() - self._start, connecting)
        self.attempts.append(attempt)
        if connecting.connect_ex(self._address) not in {0, 115}:  # EINPROGRESS; else there is no way to the VIP
            attempt.end()
            return
        self._waiting[connecting.fileno()] = attempt
        self._poll.register(connecting, select.EPOLLOUT)

    def hear(self, seconds: float) -> None:
        """Take the answers of this time, and give up attempts that have waited long enough."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for descriptor, events in self._poll.poll(left):
                attempt = self._waiting.pop(descriptor)
                attempt.opened = not events & (select.EPOLLERR | select.EPOLLHUP)
                attempt.end()
        too_old = time.monotonic() - self._start - ANSWER_SECONDS
        for descriptor in [each for each, attempt in self._waiting.items() if attempt.at < too_old]:
            self._waiting.pop(descriptor).end()


def main() -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    prober = Prober(sys.argv[1], int(sys.argv[2]))
    print("probing", flush=True)
    while not stopped:
        prober.try_once()
        prober.hear(EVERY_SECONDS)
    prober.hear(ANSWER_SECONDS)
    attempts = prober.attempts
    print(json.dumps({"opened": sum(each.opened for each in attempts), "gaps": gaps(attempts)}), flush=True)


if __name__ == "__main__":
    main()
