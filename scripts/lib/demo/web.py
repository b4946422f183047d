# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of a backend: `python -m demo.web NAME PORT`. It answers with its name, and serves slow downloads.

    /download?bytes=N&seconds=S    N bytes, sent evenly over S seconds; the same bytes on every backend
    /client                        the client's address
    anything else                  the name

Every answer has the name in the header `X-Backend` and closes the connection, so each request is a new connection.
"""

from __future__ import annotations

import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

__all__ = ["download"]

CHUNKS_PER_SECOND = 50


def download(size: int) -> bytes:
    """Return the content of a download of `size` bytes."""
    return random.Random(size).randbytes(size)  # noqa: S311  # not a secret; it must be the same on every backend


class Server(ThreadingHTTPServer):
    """Accepts a burst of connections without refusing any."""

    request_queue_size = 1024
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """Answers GET; logs nothing."""

    name = ""

    def do_GET(self) -> None:  # http.server expects this name
        """Answer by path."""
        url = urlsplit(self.path)
        if url.path == "/download":
            query = parse_qs(url.query)
            self._send_slowly(download(int(query["bytes"][0])), float(query["seconds"][0]))
        else:
            self._send_line(self.client_address[0] if url.path == "/client" else self.name)

    def _send_line(self, text: str) -> None:
        self._head(len(text) + 1)
        self.wfile.write(f"{text}\n".encode())

    def _send_slowly(self, content: bytes, seconds: float) -> None:
        self._head(len(content))
        chunks = max(1, round(seconds * CHUNKS_PER_SECOND))
        start = time.monotonic()
        for index in range(chunks):
            self.wfile.write(content[index * len(content) // chunks : (index + 1) * len(content) // chunks])
            time.sleep(max(0.0, start + (index + 1) * seconds / chunks - time.monotonic()))

    def _head(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Backend", self.name)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: there are thousands of requests."""


def main() -> None:
    """Serve until killed."""
    _, Handler.name, port = sys.argv
    Server(("", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
