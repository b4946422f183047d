# SPDX-License-Identifier: Apache-2.0
"""A daemon that answers as a test says, to see how the client and the commands take it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer, ThreadingUnixStreamServer
from typing import Any

__all__ = ["Answer", "Script", "run_xdplb", "scripted_daemon", "scripted_url"]

Answer = tuple[int, dict[str, str], bytes] | None


@dataclass
class Script:
    """What to answer: by method and path, the answers in turn, of which the last stays; None hangs up."""

    socket: Path
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0

    def on(self, method: str, path: str, *bodies: Any, status: int = 200, generation: int | None = None) -> None:
        """Answer with these bodies, one a request."""
        headers = {} if generation is None else {"ETag": f'"{generation}"'}
        self.answers[method, path] = [(status, headers, json.dumps(body).encode()) for body in bodies]

    def raw(self, method: str, path: str, *answers: Answer) -> None:
        """Answer with these statuses, headers and bytes, one a request."""
        self.answers[method, path] = list(answers)

    def next(self, method: str, path: str) -> Answer:
        turns = self.answers.get((method, path)) or [(404, {}, b'{"detail": "not scripted"}')]
        return turns.pop(0) if len(turns) > 1 else turns[0]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run xdplb against it."""
        return run_xdplb("--socket", str(self.socket), *arguments, **environment)


def run_xdplb(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run xdplb as a user does."""
    command = [str(Path(sys.executable).with_name("xdplb")), *arguments]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("XDPLB_")}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=settings | environment)


@contextmanager
def scripted_daemon(path: Path) -> Iterator[Script]:
    """Serve a script on a Unix socket."""
    script = Script(path)
    with ThreadingUnixStreamServer(str(path), _handler(script)) as server, _served(server):
        yield script


@contextmanager
def scripted_url(script: Script, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve a script on TCP, with TLS if there is a `context`, and yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(script)) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        with _served(server):
            yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"


@contextmanager
def _served(server: BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def _handler(scripted: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            scripted.connections += 1

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            scripted.requests.append((self.command, self.path, json.loads(content) if content else None))
            scripted.headers.append(dict(self.headers))
            found = scripted.next(self.command, self.path)
            if found is None:
                self.close_connection = True
                return
            status, headers, body = found
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if headers.get("Connection") == "close":
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    return Handler
