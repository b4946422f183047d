# SPDX-License-Identifier: Apache-2.0
"""Datagrams that are numbered, so that each that is lost or doubled is known.

    sequence.py serve NAME ADDRESS PORT       sends every datagram back
    sequence.py send ADDRESS PORT FLOWS RATE  sends RATE datagrams a second, by turns from FLOWS ports

Each says in one line of JSON what it has seen: the server on SIGTERM, of each flow how many datagrams came; the sender,
which stops at SIGTERM and waits a moment for the last answers, of each flow how many it sent and which got no answer,
or two.
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import sys
import time
from collections import Counter, defaultdict

BUFFER_BYTES = 8 << 20
SO_RCVBUFFORCE = 33  # more than the host allows everybody
LAST_ANSWERS_SECONDS = 1.0


def new_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    return made


class Stop:
    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def serve(name: str, address: str, port: int) -> None:
    stop = Stop()
    server = new_socket()
    server.bind((address, port))
    server.settimeout(0.1)
    came: Counter[int] = Counter()
    while not stop.asked:
        try:
            data, client = server.recvfrom(64)
        except TimeoutError:
            continue
        came[client[1]] += 1
        server.sendto(data + name.encode(), client)
    print(json.dumps(came), flush=True)


def send(address: str, port: int, flows: int, rate: int) -> None:
    stop = Stop()
    sockets = [new_socket() for _ in range(flows)]
    waiting = selectors.DefaultSelector()
    for each in sockets:
        each.connect((address, port))
        each.settimeout(0)
        waiting.register(each, selectors.EVENT_READ)
    sent: Counter[int] = Counter()
    answered: defaultdict[int, Counter[int]] = defaultdict(Counter)
    who: defaultdict[int, set[str]] = defaultdict(set)

    def listen(seconds: float) -> None:
        for key, _ in waiting.select(max(seconds, 0)):
            found = key.fileobj
            assert isinstance(found, socket.socket)
            data = found.recv(64)
            number, backend = data.decode().split(" ")
            source = found.getsockname()[1]
            answered[source][int(number)] += 1
            who[source].add(backend)

    began, turn = time.monotonic(), 0
    while not stop.asked:
        due = began + turn / rate
        while (wait := due - time.monotonic()) > 0:
            listen(wait)
        each = sockets[turn % flows]
        source = each.getsockname()[1]
        each.send(f"{sent[source]} ".encode())
        sent[source] += 1
        turn += 1
    end = time.monotonic() + LAST_ANSWERS_SECONDS
    while (left := end - time.monotonic()) > 0:
        listen(left)
    told = {
        source: {
            "sent": count,
            "lost": [number for number in range(count) if not answered[source][number]],
            "doubled": [number for number, times in answered[source].items() if times > 1],
            "backends": sorted(who[source]),
        }
        for source, count in sent.items()
    }
    print(json.dumps(told), flush=True)


def main() -> None:
    match sys.argv[1:]:
        case ["serve", name, address, port]:
            serve(name, address, int(port))
        case ["send", address, port, flows, rate]:
            send(address, int(port), int(flows), int(rate))


if __name__ == "__main__":
    main()
