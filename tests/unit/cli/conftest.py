"""A daemon that answers as a test says, to see how commands take it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

Answer = tuple[int, dict[str, str], bytes] | None


@dataclass
class Script:
    """What to answer: by method and path, the answers in turn, of which the last stays; None hangs up."""

    socket: Path
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

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


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """A scripted daemon on a Unix socket."""
    scripted = Script(tmp_path / "api.sock")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            scripted.requests.append((self.command, self.path, json.loads(content) if content else None))
            scripted.authorizations.append(self.headers.get("Authorization"))
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

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    with ThreadingUnixStreamServer(str(scripted.socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield scripted
        server.shutdown()
        thread.join()
