# SPDX-License-Identifier: Apache-2.0
"""An HTTP server to show what the network does to bytes: `mirror_service.py NAME PORT`. Both families on one port.

    GET /N    N bytes that look random, but are always the same
    POST      the bytes that were received

Every answer names the backend in X-Backend and closes the connection.
"""

from __future__ import annotations

import random
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def body(length: int) -> bytes:
    """Return bytes that look random and are the same each time, so that lost, doubled or swapped bytes are noticed."""
    return random.Random(length).randbytes(length)


class Service(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    name = ""

    def do_GET(self) -> None:
        self._answer(body(int(self.path.strip("/"))))

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Backend", self.name)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def main() -> None:
    Handler.name, port = sys.argv[1:]
    Service(("::", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
