# SPDX-License-Identifier: Apache-2.0
"""Connections that are held open, and speak or end when they are told to.

    held_talker.py ADDRESS PORT COUNT    opens COUNT connections, and writes a line of JSON: who has each

Reads lines of `VERB NUMBER...`, and answers each with a line of JSON. `speak`: say something on these connections; the
answer is what became of each: `answered`, `reset` or `silent`. `close`, `reset`: end these, with a FIN or a RST.
The other side is `talker.py serve`, which sends its name at first and for each line.
"""

from __future__ import annotations

import json
import socket
import struct
import sys

ANSWER_SECONDS = 2.0
NO_LINGER = struct.pack("ii", 1, 0)


def opened(address: str, port: int) -> socket.socket:
    connection = socket.create_connection((address, port), timeout=ANSWER_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def speak(connection: socket.socket) -> str:
    try:
        connection.sendall(b"?\n")
        return "answered" if connection.recv(100) else "closed"
    except TimeoutError:
        return "silent"
    except OSError:
        return "reset"


def end(connection: socket.socket, *, with_reset: bool) -> str:
    if with_reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    connection.close()
    return "ended"


def main(address: str, port: int, count: int) -> None:
    held = [opened(address, port) for _ in range(count)]
    print(json.dumps([connection.recv(100).decode().strip() for connection in held]), flush=True)
    for line in sys.stdin:
        verb, *numbers = line.split()
        chosen = [held[int(number)] for number in numbers]
        done = [speak(one) if verb == "speak" else end(one, with_reset=verb == "reset") for one in chosen]
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
