# SPDX-License-Identifier: Apache-2.0
"""Attacks on the API: `attacks.py NAME SOCKET`, until it is killed. Each does what a broken or hostile client does."""

from __future__ import annotations

import json
import os
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable
from itertools import cycle

__all__ = ["ATTACKS"]

MANY = 1100
CLIENTS = 64
BODY_BYTES = 47 << 20
VIP = "/v1/vips/203.0.113.1:80:tcp"


class _Client:
    """A connection that is opened again whenever the daemon closes it. `says` is sent at each opening."""

    def __init__(self, path: str, says: bytes, *, reads: bool = True) -> None:
        self.path, self.says, self.reads = path, says, reads
        self.socket: socket.socket | None = None
        self.unsent = memoryview(b"")
        self.not_before = 0.0
        self.is_answered = False

    def open(self) -> bool:
        """Connect unless it is connected; return whether it has a new connection."""
        if self.socket is not None or time.monotonic() < self.not_before:
            return False
        self.not_before = time.monotonic() + 0.05
        new = socket.socket(socket.AF_UNIX)
        new.settimeout(0)
        try:
            new.connect(self.path)
        except OSError:
            new.close()
            return False
        self.socket, self.unsent = new, memoryview(self.says)
        self.send()
        return True

    def is_over(self) -> bool:
        """Read what has come; return whether the connection has ended."""
        if not self.reads:
            time.sleep(0.001)
            return False
        try:
            told = self.socket.recv(1 << 18) if self.socket is not None else b""
        except OSError:
            told = b""
        self.is_answered = not self.unsent and told.endswith((b"}", b"0\r\n\r\n", b"\n"))
        return not told

    def send(self) -> None:
        """Send what is left to send."""
        if self.socket is None or not self.unsent:
            return
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent = memoryview(b"")  # the end of the connection is seen when it is read

    def close(self) -> None:
        """Close the connection."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def _run(clients: list[_Client], *, drip: bytes = b"", again: bool = False) -> None:
    """Keep the clients connected. With `again`, each sends its request again when an answer has come."""
    ready = selectors.DefaultSelector()
    dripped = time.monotonic()
    while True:
        for client in clients:
            if client.open() and client.socket is not None:
                ready.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        for key, _ in ready.select(0.01):
            client = key.data
            if client.is_over():
                ready.unregister(key.fileobj)
                client.close()
            elif again and client.is_answered:
                client.unsent = memoryview(client.says)
                client.send()
        if drip and time.monotonic() - dripped > 1:
            dripped = time.monotonic()
            for client in clients:
                client.unsent = client.unsent or memoryview(drip)


def _request(method: str, path: str, body: bytes = b"", *, length: int | None = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nXdplb-Client: bench\r\n"
    if body or length is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n"
    return head.encode() + b"\r\n" + body


def _silent(path: str) -> None:
    _run([_Client(path, b"") for _ in range(MANY)])


def _half_requests(path: str) -> None:
    _run([_Client(path, b"GET /v1/vips HTTP/1.1\r\nHost: localhost\r\nX: ") for _ in range(MANY)], drip=b"x")


def _unfinished_bodies(path: str) -> None:
    most = _request("PUT", f"{VIP}/access", b'{"allow": ["' + b"x" * (BODY_BYTES - 100), length=BODY_BYTES)
    _run([_Client(path, most) for _ in range(20)])


def _whole_bodies(path: str) -> None:
    allow = [f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}/32" for i in range(400_000)]
    body = _request("PUT", f"{VIP}/access", json.dumps({"allow": allow, "wrong": 1}).encode())
    _run([_Client(path, body) for _ in range(4)], again=True)


def _access_lists(path: str) -> None:
    lists = ([f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}/32" for i in range(start, 100_000)] for start in (0, 1))
    bodies = [json.dumps({"allow": allow}).encode() for allow in lists]
    _run([_Client(path, _request("PUT", f"{VIP}/access", body)) for body in bodies], again=True)


def _backend_sets(path: str) -> None:
    backends = [{"address": f"10.9.{i >> 8}.{i & 255}", "weight": 70000} for i in range(40_000)]
    body = _request("PUT", f"{VIP}/backends", json.dumps({"backends": backends}).encode())
    _run([_Client(path, body) for _ in range(4)], again=True)


def _flood(*requests: bytes) -> Callable[[str], None]:
    def attack(path: str) -> None:
        kinds = cycle(requests)
        _run([_Client(path, next(kinds)) for _ in range(CLIENTS)], again=True)

    return attack


def _nested(path: str) -> None:
    """Each body is refused, and comes by a connection of its own."""
    body = _request("PUT", f"{VIP}/access", b"[" * (2 << 20)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    _run([_Client(path, body) for _ in range(8)])


def _unread(path: str) -> None:
    _run([_Client(path, _request("GET", "/metrics"), reads=False) for _ in range(CLIENTS)])


def _readers(path: str) -> None:
    follow = _request("GET", "/v1/events?since=30d").replace(b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\n\r\n", 1)
    _run([_Client(path, follow, reads=False) for _ in range(CLIENTS)])


def _changes(path: str) -> None:
    bodies = [json.dumps({"weight": weight}).encode() for weight in (1, 2)]
    address = f"{VIP}/backends/10.1.0.1"
    _run(
        [_Client(path, b"".join(_request("PATCH", address, body) for body in bodies)) for _ in range(CLIENTS)],
        again=True,
    )


ATTACKS: dict[str, Callable[[str], None]] = {
    "1100 silent connections": _silent,
    "1100 half requests, a byte a second": _half_requests,
    "20 unfinished bodies of 47 MB": _unfinished_bodies,
    "whole bodies of 7 MB, refused": _whole_bodies,
    "access lists of 100,000 prefixes": _access_lists,
    "sets of 40,000 backends, refused": _backend_sets,
    "bodies of 2 MB, nested too deeply": _nested,
    "garbage": _flood(b"\x16\x03\x01 garbage\r\n\r\n"),
    "small requests": _flood(_request("GET", VIP), _request("GET", "/v1/nothing"), _request("GET", "/readyz")),
    "lists of all backends": _flood(_request("GET", "/v1/backends"), _request("GET", "/v1/status")),
    "scrapes": _flood(_request("GET", "/metrics")),
    "scrapes that nobody reads": _unread,
    "readers of events that do not read": _readers,
    "events that nobody has": _flood(_request("GET", "/v1/events?vip=203.0.113.250:9/tcp&since=30d")),
    "captures": _flood(_request("GET", "/v1/capture?packets=1&seconds=0.1")),
    "changes": _changes,
}


if __name__ == "__main__":
    os.nice(10)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ATTACKS[sys.argv[1]](sys.argv[2])
