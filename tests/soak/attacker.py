"""Attacks on the API, as long as it runs. `attacker.py KIND SOCKET`.

silent      as many connections as there can be, that say nothing
halves      connections with half of a request
bodies      bodies of 47 MB that never end
requests    requests as fast as they are answered, on 16 connections
scrapes     the same with /metrics, on 4
captures    one capture after the other
"""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
import threading
import time

KINDS = ("silent", "halves", "bodies", "requests", "scrapes", "captures")
CONNECTIONS = 1100
BODY_BYTES = 47_000_000


def connect(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(10)
    made.connect(path)
    return made


def hold(path: str, count: int, said: bytes) -> None:
    """Hold `count` connections open that have said this much; open anew those that are closed."""
    held: list[socket.socket] = []
    while True:
        with contextlib.suppress(OSError):
            if len(held) < count:
                one = connect(path)
                held.append(one)
                one.sendall(said)
                continue
        time.sleep(0.05)
        held = [one for one in held if is_open(one)]


def is_open(one: socket.socket) -> bool:
    one.settimeout(0)
    try:
        return bool(one.recv(65536))
    except BlockingIOError:
        return True
    except OSError:
        return False


def ask(path: str, request: bytes) -> None:
    """Ask again and again, as fast as it is answered."""
    while True:
        with contextlib.suppress(OSError), connect(path) as one:
            while True:
                one.sendall(request)
                if not one.recv(1 << 20):
                    break


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nXdplb-Client: soak\r\n\r\n".encode()


def main() -> None:
    kind, path = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if kind == "silent":
        hold(path, CONNECTIONS, b"")
    elif kind == "halves":
        hold(path, CONNECTIONS, b"GET /v1/vips HTTP/1.1\r\nHost: local")
    elif kind == "bodies":
        head = f"POST /v1/vips HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES}\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        hold(path, 20, head.encode() + b'"' + b"x" * (BODY_BYTES - 1000))
    else:
        targets = {"requests": "/v1/vips", "scrapes": "/metrics", "captures": "/v1/capture?packets=1&seconds=1"}
        threads = {"requests": 16, "scrapes": 4, "captures": 1}[kind]
        for _ in range(threads):
            threading.Thread(target=ask, args=(path, get(targets[kind])), daemon=True).start()
        threading.Event().wait()


if __name__ == "__main__":
    main()
