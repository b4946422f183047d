# SPDX-License-Identifier: Apache-2.0
"""For how long a VIP does not answer, as a script of its own: `gaps.py PORT FLOWS ADDRESS…`.

FLOWS flows of UDP to each ADDRESS, of which each sends a datagram every 10 ms; any backend may answer. For each line on
stdin, the script waits for answers that are under way, and writes a line of JSON about the time since the line before:
for how long no datagram of a flow was answered, at most, for each flow in seconds; and how many were sent and answered.

A gap is counted in datagrams in a row that were never answered. So it does not matter if this process, or a service,
has to wait for a CPU.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Collection

PERIOD_SECONDS = 0.01
LATE_SECONDS = 10.0
"""How long an answer may take where all have to wait for a CPU."""

_STDIN = 0
_SO_RCVBUFFORCE = 33
_ROOM = 4 << 20


class Flow:
    """A flow, and which of its datagrams were answered."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self.socket.settimeout(0)
        self.socket.connect((address, port))
        self.sent = 0
        self.answered: set[int] = set()

    def send(self) -> None:
        """Send the next datagram. That nobody listens there is no error here, but a gap."""
        self.sent += 1
        try:
            self.socket.send(str(self.sent).encode())
        except OSError:
            return

    def receive(self) -> None:
        """Take what has come."""
        while True:
            try:
                answer = self.socket.recv(64)
            except OSError:
                return
            self.answered.add(int(answer.rsplit(b" ", 1)[-1]))

    def take(self) -> float:
        """Return the longest gap in seconds, and begin anew."""
        longest = _longest_run(self.sent, self.answered)
        self.sent = 0
        self.answered.clear()
        return longest * PERIOD_SECONDS


def _longest_run(sent: int, answered: Collection[int]) -> int:
    """Return how many of the numbers from 1 to `sent` in a row are missing, at most."""
    longest = previous = 0
    for number in (*sorted(answered), sent + 1):
        longest, previous = max(longest, number - previous - 1), number
    return longest


class Flows:
    """All flows."""

    def __init__(self, port: int, count: int, addresses: list[str]) -> None:
        self._flows = [Flow(address, port) for address in addresses for _ in range(count)]
        self._polled = select.epoll()
        self._by_number = {flow.socket.fileno(): flow for flow in self._flows}
        for number in (*self._by_number, _STDIN):
            self._polled.register(number, select.EPOLLIN)

    def run(self) -> None:
        """Run until stdin is closed."""
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= due:
                due = max(due + PERIOD_SECONDS, now)
                for flow in self._flows:
                    flow.send()
            if self._receive(due - now):
                if not os.read(_STDIN, 64):
                    return
                self._report()

    def _receive(self, seconds: float) -> bool:
        """Take the answers that come within this time; return whether something is on stdin."""
        is_asked = False
        for number, _ in self._polled.poll(max(0.0, seconds)):
            if number == _STDIN:
                is_asked = True
            else:
                self._by_number[number].receive()
        return is_asked

    def _report(self) -> None:
        end = time.monotonic() + LATE_SECONDS
        while time.monotonic() < end and any(flow.sent not in flow.answered for flow in self._flows):
            for flow in self._flows:
                flow.receive()
            time.sleep(PERIOD_SECONDS)
        sent, answered = sum(flow.sent for flow in self._flows), sum(len(flow.answered) for flow in self._flows)
        gaps = sorted((round(flow.take(), 4) for flow in self._flows), reverse=True)
        print(json.dumps({"gaps": gaps, "sent": sent, "answered": answered}), flush=True)


if __name__ == "__main__":
    Flows(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]).run()
