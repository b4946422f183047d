# SPDX-License-Identifier: Apache-2.0
"""A client that dials again from the same port, and the service that resets it, for the traffic tests.

    redial.py serve NAME PORT                   sends NAME on each new connection; on a line from the client it stops
                                                listening, resets the connection and ends
    redial.py dial SOURCE_PORT ADDRESS PORT     connects and writes who answers; on a line on stdin sends it, waits for
                                                the reset, and dials every half second until somebody answers, 20 times

`dial` writes a line for each attempt: the name that it was sent, or "refused".
"""

from __future__ import annotations

import socket
import struct
import sys
import time

RETRY_SECONDS = 0.5
MOST_ATTEMPTS = 20
PATIENCE_SECONDS = 5
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, no time


def serve(name: str, port: int) -> None:
    with socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        while True:
            connection, _ = listening.accept()
            connection.sendall(f"{name}\n".encode())
            if connection.recv(100):
                break
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.close()


def dial(source_port: int, address: str, port: int) -> None:
    connection = _answered(source_port, address, port)
    connection.sendall(sys.stdin.readline().encode())
    try:
        while connection.recv(100):
            pass
    except ConnectionResetError:
        pass
    connection.close()
    _answered(source_port, address, port).close()


def _answered(source_port: int, address: str, port: int) -> socket.socket:
    """Return the first connection that somebody answers on."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(MOST_ATTEMPTS):
        dialling = socket.socket(family, socket.SOCK_STREAM)
        dialling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        dialling.settimeout(PATIENCE_SECONDS)
        dialling.bind(("", source_port))
        try:
            dialling.connect((address, port))
            print(dialling.recv(100).decode().strip(), flush=True)
        except OSError:
            dialling.close()
            print("refused", flush=True)
            time.sleep(RETRY_SECONDS)
        else:
            return dialling
    sys.exit("nobody answered")


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "serve":
        serve(arguments[0], int(arguments[1]))
    else:
        dial(int(arguments[0]), arguments[1], int(arguments[2]))


if __name__ == "__main__":
    main()
