# SPDX-License-Identifier: Apache-2.0
"""A port on loopback that a web browser can use in the place of the daemon's Unix socket.

The page's files are passed on as they are. Everything else needs the token of this server, which is made anew each time
and only known to whoever sees the URL: other users of this host reach the port as well. To the daemon, requests come
from the process that runs this, with its rights.
"""

from __future__ import annotations

import hmac
import http.client
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from xdplb.model.errors import PROBLEM_TYPE, XdplbError

from .target import Target

__all__ = ["PageServer"]

_MOST_BODY = 8 << 20
_MOST_CONNECTIONS = 64
"""How many browsers' connections there may be: a tab has up to six, and a thread is spent on each."""
_IDLE_SECONDS = 15.0
"""How long a connection may take over its next request: other users of this host must not hold all of them for free."""
_SECONDS = 60.0
"""How long a step of an answer may take: events come, or a line that says that there are none, each 15 s."""
_PASSED_ON = ("Accept", "Content-Type", "If-Match", "If-None-Match", "Last-Event-ID", "Xdplb-Client", "Idempotency-Key")
_PASSED_BACK = (
    "Allow",
    "Cache-Control",
    "Content-Security-Policy",
    "Content-Type",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "ETag",
    "Location",
    "Referrer-Policy",
    "Retry-After",
    "X-Content-Type-Options",
)
_READING = frozenset({"GET", "HEAD"})
_ACTING_GETS = frozenset({"/v1/backup", "/v1/capture", "/v1/records"})


class PageServer(ThreadingHTTPServer):
    """Serves one daemon to browsers of this host until it is shut down. `read_only` lets nothing be changed."""

    daemon_threads = True  # a browser that follows the events must not keep the command from ending
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], target: Target, *, read_only: bool) -> None:
        """Bind the port. OSError if that is not possible."""
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.target, self.read_only = target, read_only
        self.token = f"xdplb_{secrets.token_urlsafe(32)}"

    @property
    def url(self) -> str:
        """The page, without the token."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}/" if ":" in str(host) else f"http://{host!s}:{port}/"

    @property
    def names(self) -> frozenset[str]:
        """What a Host header may say. Another name is that of a page which resolves to this address (DNS rebinding)."""
        return frozenset({"localhost", "127.0.0.1", "[::1]", urlsplit(self.url).netloc.rpartition(":")[0]})

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; refuse it if there are too many already."""
        if not self._free.acquire(blocking=False):
            _refuse(request)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve it, and let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away in the middle of an answer."""


def _refuse(request: socket.socket) -> None:
    """Say that there are too many connections, without waiting for a request or for whoever sent it to listen."""
    detail = f"there are {_MOST_CONNECTIONS} connections to `xdplb dashboard` already"
    body = json.dumps(_problem_body(503, "too-many-connections", detail, hint="close other tabs of it")).encode()
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
    )
    with suppress(OSError):
        request.settimeout(0)
        request.send(f"{head}Retry-After: 5\r\nConnection: close\r\n\r\n".encode() + body)


def _problem_body(status: int, kind: str, detail: str, hint: str = "") -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    return {"type": PROBLEM_TYPE + kind, "title": title, "status": status, "detail": detail, "hint": hint, "errors": []}


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version = "xdplb"
    sys_version = ""
    _ROLE_PATH: ClassVar[str] = "/v1/whoami"

    def setup(self) -> None:
        """Begin a connection."""
        super().setup()
        self.connection.settimeout(_IDLE_SECONDS)

    def do_GET(self) -> None:
        """Serve one request."""
        self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Print nothing: the daemon notes who changes what."""

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)  # as the daemon reads it: /v1/%62ackup is /v1/backup
        refusal = self._refusal(path)
        if refusal is not None:
            self.close_connection = True  # its body is not read
            self._problem(*refusal)
            return
        try:
            body = self._body()
            self._pass_on(path, body)
        except _BadRequestError as error:
            self.close_connection = True
            self._problem(400, "bad-request", str(error))

    def _refusal(self, path: str) -> tuple[int, str, str] | None:
        """Return what is wrong with a request: status, kind and sentence."""
        host = self.headers.get("Host", "")
        if host.rpartition(":")[0] not in self.server.names and host not in self.server.names:
            return 421, "wrong-host", "this page is served on loopback only"
        if _is_ambiguous(self.path, path):
            return 404, "not-found", "there is no such path: its parts must not be empty or dots only, nor have a #"
        if path == "/" or path.startswith("/dashboard/"):
            return (
                None if self.command in _READING else (405, "method-not-allowed", f"{self.command} is not allowed here")
            )
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self.server.token.encode()):
            return 401, "unauthenticated", "open the URL that `xdplb dashboard` has printed: it has the token"
        if self.server.read_only and (self.command not in _READING or path.rstrip("/") in _ACTING_GETS):
            return 403, "forbidden", "`xdplb dashboard --read-only` lets nothing be changed"
        return None

    def _body(self) -> bytes | None:
        if "Transfer-Encoding" in self.headers:
            raise _BadRequestError("a body must come with its Content-Length")
        length = self.headers.get("Content-Length")
        if length is None:
            return None
        if not (length.isascii() and length.isdigit()) or int(length) > _MOST_BODY:
            raise _BadRequestError(f"Content-Length must be a number up to {_MOST_BODY}")
        return self.rfile.read(int(length))

    def _pass_on(self, path: str, body: bytes | None) -> None:
        target = self.server.target
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        connection = target.connection(_SECONDS)
        with closing(connection):
            try:
                connection.request(self.command, target.prefix + self.path, body, {**headers, **target.headers()})
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException):
                self._problem(502, "daemon-down", f"the daemon at {target} does not answer")
                return
            except XdplbError as error:  # the token file of --token-file
                self._problem(502, "daemon-down", error.detail)
                return
            if path == self._ROLE_PATH and self.server.read_only and answer.status == HTTPStatus.OK:
                self._send(answer, [json.dumps({**json.loads(answer.read()), "role": "read"}).encode()])
            else:
                self._send(answer, _parts(answer))

    def _send(self, answer: http.client.HTTPResponse, parts: list[bytes] | Iterator[bytes]) -> None:
        self.send_response(answer.status)
        for name in _PASSED_BACK:
            for value in answer.headers.get_all(name, ()):
                self.send_header(name, value)
        if answer.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED} or self.command == "HEAD":
            if self.command == "HEAD" and answer.headers["Content-Length"] is not None:
                self.send_header("Content-Length", answer.headers["Content-Length"])
            self.end_headers()
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        except (OSError, http.client.HTTPException):  # either side went away: what was begun must not look complete
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _problem(self, status: int, kind: str, detail: str) -> None:
        content = json.dumps(_problem_body(status, kind, detail)).encode()
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)


def _is_ambiguous(asked: str, path: str) -> bool:
    """Say whether what is asked for, and the path that was read from it, may be another path to a proxy behind this.

    Such a proxy resolves dots and joins slashes: what looks like a file of the page here would then be data there.
    """
    if not asked.startswith("/") or "#" in asked:
        return True
    return path != "/" and any(part in {"", ".", ".."} for part in path[1:].rstrip("/").split("/"))


class _BadRequestError(Exception):
    """A request that cannot be passed on; its text says why."""


def _parts(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield an answer as it comes: an event must not wait for the next one."""
    while part := answer.read1(65536):
        yield part
