# SPDX-License-Identifier: Apache-2.0
"""What the backends of the traffic tests run: an HTTP server and a UDP echo. `backend_service.py NAME PORT VIP...`.

    /slow?bytes=N&seconds=S    N bytes, sent evenly over S seconds
    /health                    200
    POST                       the number of bytes received; with /digest, the SHA-256 of them
    anything else              the backend's name and the client's address

Every answer names the backend in X-Backend and closes the connection. The UDP echo answers from the VIP's address and
puts the backend's name in front. Both speak IPv4 and IPv6.
"""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

STEP_SECONDS = 0.02


class Service(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Handler(BaseHTTPRequestHandler):
    name = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/slow":
            query = parse_qs(url.query)
            self._slowly(int(query["bytes"][0]), float(query["seconds"][0]))
        else:
            self._answer(f"{self.name} {self.client_address[0].removeprefix('::ffff:')}\n".encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = hashlib.sha256(body).hexdigest() if self.path == "/digest" else len(body)
        self._answer(f"{told}\n".encode())

    def _slowly(self, size: int, seconds: float) -> None:
        self._head(size)
        steps = max(1, round(seconds / STEP_SECONDS))
        for index in range(steps):
            self.wfile.write(bytes((index + 1) * size // steps - index * size // steps))
            time.sleep(seconds / steps)

    def _answer(self, body: bytes) -> None:
        self._head(len(body))
        self.wfile.write(body)

    def _head(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Backend", self.name)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def echo(name: str, address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as answering:
        answering.bind((address, port))
        while True:
            data, client = answering.recvfrom(2048)
            answering.sendto(name.encode() + b" " + data, client)


def main() -> None:
    name, port, *vips = sys.argv[1:]
    Handler.name = name
    for vip in vips:
        threading.Thread(target=echo, args=(name, vip, int(port)), daemon=True).start()
    Service(("", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
