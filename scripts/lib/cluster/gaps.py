"""How long clients see nothing of a VIP, as a script of its own: `gaps.py PORT FLOWS ADDRESS…`.

FLOWS flows of UDP to each ADDRESS, of which each sends a datagram every 10 ms; any backend may answer. For each line on
stdin, the script writes a line of JSON about the time since the one before: the longest time without an answer of each
flow in seconds, and how many datagrams were sent and answered.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

PERIOD_SECONDS = 0.01
_STDIN = 0


class Flow:
    """A flow, and the longest time that it had no answer."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(0)
        self.socket.connect((address, port))
        self.began()

    def began(self) -> None:
        """Begin to count anew."""
        self.heard = time.monotonic()
        self.longest = 0.0
        self.sent = self.answered = 0

    def send(self) -> None:
        """Send a datagram; that nobody listens there is no error here, but a gap."""
        try:
            self.socket.send(b"?")
        except OSError:
            return
        self.sent += 1

    def receive(self, now: float) -> None:
        """Take what has come."""
        while True:
            try:
                self.socket.recv(64)
            except OSError:
                return
            self.answered += 1
            self.longest = max(self.longest, now - self.heard)
            self.heard = now

    def gap(self, now: float) -> float:
        """Return the longest time without an answer, also if it goes on."""
        return max(self.longest, now - self.heard)


def main(port: int, count: int, addresses: list[str]) -> None:
    """Run until stdin is closed."""
    flows = [Flow(address, port) for address in addresses for _ in range(count)]
    polled = select.epoll()
    by_number = {flow.socket.fileno(): flow for flow in flows}
    for number in (*by_number, _STDIN):
        polled.register(number, select.EPOLLIN)
    due = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= due:
            due = max(due + PERIOD_SECONDS, now)
            for flow in flows:
                flow.send()
        for number, _ in polled.poll(max(0.0, due - time.monotonic())):
            if number != _STDIN:
                by_number[number].receive(time.monotonic())
            elif not os.read(_STDIN, 64):
                return
            else:
                _report(flows)


def _report(flows: list[Flow]) -> None:
    now = time.monotonic()
    gaps = sorted((round(flow.gap(now), 4) for flow in flows), reverse=True)
    sent, answered = sum(flow.sent for flow in flows), sum(flow.answered for flow in flows)
    print(json.dumps({"gaps": gaps, "sent": sent, "answered": answered}), flush=True)
    for flow in flows:
        flow.began()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
