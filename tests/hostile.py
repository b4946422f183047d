# SPDX-License-Identifier: Apache-2.0
"""Random and hostile HTTP requests, none of which may change anything: what is sent to a daemon as it is.

A request here is wrong in itself, asks only, is a dry run, or is about something that does not exist.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["hostile_requests", "send_all"]

_PATHS = [
    "/v1/vips",
    "/v1/vips/web",
    "/v1/vips/203.0.113.10:443:tcp",
    "/v1/vips/web/backends",
    "/v1/vips/web/backends/10.0.0.11",
    "/v1/vips/web/backends/10.0.0.11/drain",
    "/v1/vips/web/health-check",
    "/v1/vips/web/access",
    "/v1/config",
    "/v1/changes",
    "/v1/status",
    "/v1/stats",
    "/v1/explain",
    "/v1/backup",
    "/metrics",
    "/readyz",
    "/openapi.json",
]
_METHODS = ["POST", "PUT", "PATCH", "DELETE"]
_WORDS = ["", "*", "/", "..", "%00", "%2e%2e", "\\", "'", '"', "{}", "\u202e", "\x1b[2J", "web", "-1", "1e999", "null"]


def _nonsense(rng: random.Random) -> str:
    return rng.choice(_WORDS) + "".join(chr(rng.randrange(33, 0x250)) for _ in range(rng.randrange(12)))


def _value(rng: random.Random, depth: int = 3) -> object:
    kinds: list[Callable[[], object]] = [
        lambda: _nonsense(rng),
        lambda: rng.choice([None, True, False, 0, -1, 2**64, 10**40, 0.1, 1e308]),
    ]
    if depth:
        kinds += [
            lambda: [_value(rng, depth - 1) for _ in range(rng.randrange(4))],
            lambda: {_nonsense(rng): _value(rng, depth - 1) for _ in range(rng.randrange(4))},
        ]
    return rng.choice(kinds)()


def _request(method: str, path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Xdplb-Client: hostile", *headers]
    if body or method in {"POST", "PUT", "PATCH"}:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + body


def _garbled_json(rng: random.Random) -> bytes:
    good = json.dumps({"address": "203.0.113.99", "port": 80, "protocol": "tcp"}).encode()
    at = rng.randrange(1, len(good))
    return rng.choice(
        [
            good[:at],
            good[:at] + bytes([rng.randrange(128, 256)]) + good[at:],
            b"[" * rng.randrange(10, 5000),
            b'{"a":' * 300 + b"1" + b"}" * 300,
            b'{"port": NaN}',
            b'{"port": 80, "port": 81, "address": "203.0.113.99", "protocol": "tcp"}',
            b"\xff\xfe{\x00}\x00",  # an object, in UTF-16
            b"\xef\xbb\xbf{}",
            bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60))),
        ]
    )


def _unknown_fields(rng: random.Random) -> bytes:
    # With a field that no schema has, nothing of the rest may count.
    return json.dumps({"address": "203.0.113.99", "port": 80, "no_such_field": _value(rng)}).encode()


def _of_json(rng: random.Random) -> bytes:
    method = rng.choice(["POST", "PUT", "PATCH"])
    path = rng.choice(_PATHS[:10])
    body = rng.choice([_garbled_json, _unknown_fields])(rng)
    return _request(method, path, body)


def _of_paths(rng: random.Random) -> bytes:
    text = "".join(f"%{byte:02X}" if rng.random() < 0.7 else "." for byte in _nonsense(rng).encode())
    rest = rng.choice(["", "/backends", "/backends/10.0.0.1", "/drain", "/../../etc/passwd", "//", "?x=" + "y" * 3000])
    return _request(rng.choice([*_METHODS, "GET"]), f"/v1/vips/no{text}{rest}", b"")


def _of_preconditions(rng: random.Random) -> bytes:
    tag = rng.choice(['"0"', "0", 'W/"1"', '"' + "9" * 40 + '"', '"', "*, *"])
    return _request("DELETE", "/v1/vips/web", b"", f"If-Match: {tag}", 'If-Match: "0"')


def _of_dry_runs(rng: random.Random) -> bytes:
    path = rng.choice(["/v1/vips/web", "/v1/vips/web/backends/10.0.0.11", "/v1/vips/web/health-check"])
    return _request("DELETE", f"{path}?dry_run=true", b"")


def _of_questions(rng: random.Random) -> bytes:
    query = rng.choice(["", "?", "?vip=" + "%F0%9F%92%A9", "?client=1&client=2", "?" + "&".join(["a=b"] * 50)])
    return _request(rng.choice(["GET", "HEAD", "OPTIONS", "TRACE", "BREW"]), rng.choice(_PATHS) + query, b"")


def _of_wire(rng: random.Random) -> bytes:
    body = b'{"address": "203.0.113.98", "port": 80, "protocol": "tcp"}'
    head = b"POST /v1/vips HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return rng.choice(
        [
            bytes(rng.randrange(256) for _ in range(rng.randrange(1, 200))) + b"\r\n\r\n",
            head + b"Content-Length: 10\r\nContent-Length: 58\r\n\r\n" + body,
            head + b"Content-Length: 58\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"\r\n",
            head + b"Content-Length: -5\r\n\r\n",
            head + b"Content-Length: 99999999999999999999\r\n\r\n",
            head + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n" + body,
            head + b"X-Big: " + b"a" * 70_000 + b"\r\n\r\n",
            head + b"".join(b"X-%d: y\r\n" % number for number in range(500)) + b"\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET http://evil.example/v1/status HTTP/1.1\r\n\r\n",
            b"POST /v1/vips HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    )


_KINDS = [_of_json, _of_json, _of_paths, _of_preconditions, _of_dry_runs, _of_questions, _of_wire]


def hostile_requests(number: int, seed: int) -> Iterator[bytes]:
    """Yield so many requests, the same ones for the same seed."""
    rng = random.Random(seed)
    for _ in range(number):
        yield rng.choice(_KINDS)(rng)


def send_all(path: Path, requests: Iterator[bytes]) -> list[bytes]:
    """Send requests to the socket at `path`, each in a connection of its own; return the first lines of the answers.

    Every third connection is not waited for: whoever sent the request is gone.
    """
    told = []
    for number, request in enumerate(requests):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(0.5)
            connection.connect(str(path))
            try:
                connection.sendall(request)
                if number % 3 == 0:
                    continue
                told.append(connection.recv(4096).partition(b"\r\n")[0])
            except (ConnectionError, TimeoutError):
                told.append(b"")
    return told
