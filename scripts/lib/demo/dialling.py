# SPDX-License-Identifier: Apache-2.0
"""Connections at a steady rate, with the kernel's own timers: `python -m demo.dialling ADDRESS PORT RATE SECONDS`.

Each is a new TCP connection, which is there once the backend has sent its name. When all are over, or GRACE_SECONDS
after the last one began, a line is written for each: when it began and how long it took, in seconds, and the name; both
are missing if it failed.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

GRACE_SECONDS = 20.0
NAME_BYTES = 64


class Dialling:
    """All connections; `results` has a line for each that is over."""

    def __init__(self, address: str, port: int) -> None:
        self._target = address, port
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._open: dict[socket.socket, float] = {}
        self._ready = selectors.DefaultSelector()
        self._zero = time.monotonic()
        self.results: list[str] = []

    def run(self, rate: float, seconds: float) -> None:
        """Begin `rate` a second for `seconds`, and wait for the last of them."""
        total = round(rate * seconds)
        for number in range(total):
            self._hear_until(self._zero + number / rate)
            self._begin()
        end = time.monotonic() + GRACE_SECONDS
        while self._open and time.monotonic() < end:
            self._hear_until(time.monotonic() + 0.05)
        for connection in list(self._open):
            self._over(connection, "")

    def _begin(self) -> None:
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        connection.settimeout(0)
        self._open[connection] = time.monotonic()
        connection.connect_ex(self._target)
        self._ready.register(connection, selectors.EVENT_READ)

    def _hear_until(self, when: float) -> None:
        while True:
            left = when - time.monotonic()
            for key, _ in self._ready.select(max(0.0, left)):
                if isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)
            if left <= 0:
                return

    def _hear(self, connection: socket.socket) -> None:
        try:
            name = connection.recv(NAME_BYTES).decode().strip()
        except BlockingIOError:
            return
        except OSError:
            name = ""
        self._over(connection, name)

    def _over(self, connection: socket.socket, name: str) -> None:
        began = self._open.pop(connection)
        took = f" {time.monotonic() - began:.6f} {name}" if name else ""
        self.results.append(f"{began - self._zero:.6f}{took}")
        self._ready.unregister(connection)
        connection.close()


def main() -> None:
    """Dial, and write what came of it."""
    _, address, port, rate, seconds = sys.argv
    dialling = Dialling(address, int(port))
    print("ready", flush=True)
    dialling.run(float(rate), float(seconds))
    print("\n".join(dialling.results))


if __name__ == "__main__":
    main()
