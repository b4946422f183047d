# SPDX-License-Identifier: Apache-2.0
"""The dashboard: static files for web browsers. All data on the page comes from the API, with a token.

The page itself needs no token: it has nothing of this balancer, and asks for one. It may load nothing from another
host, run no script but its own, and be framed by nobody. On the Unix socket it is for `xdplb dashboard`,
which passes it on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from xdplb.dataplane.reasons import REASONS
from xdplb.model.printable import quoted

from .problems import ProblemResponse

__all__ = ["FOLDER", "ROOT", "DashboardFiles", "files"]

ROOT = "/"
FOLDER = "/dashboard/"

_SOURCE = Path(__file__).parent / "dashboard"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked for each time and answered with 304: an upgrade never mixes old and new files
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    etag: str


class DashboardFiles:
    """Answers requests for the page and its files; everything else goes on to the API."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_ours = scope["type"] == "http" and (scope["path"] == ROOT or scope["path"].startswith(FOLDER))
        await (_answer(scope) if is_ours else self.app)(scope, receive, send)


def _answer(scope: Scope) -> Response:
    if scope["method"] not in {"GET", "HEAD"}:
        return ProblemResponse(
            405, "method-not-allowed", f"{scope['method']} is not allowed here", headers={"Allow": "GET, HEAD"}
        )
    found = files().get(scope["path"])
    if found is None:
        return ProblemResponse(
            404,
            "no-such-path",
            f"there is no file {quoted(scope['path'], 200)} of the dashboard",
            hint="the page itself is at /",
        )
    headers = {**_HEADERS, "ETag": found.etag}
    if found.etag in [each.strip() for each in Headers(scope=scope).get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type=found.media_type, headers=headers)


@cache
def files() -> Mapping[str, _File]:
    """Return all files by their path. They are read once: there are some dozen, of 150 kB in all."""
    read = {
        f"{FOLDER}{path.relative_to(_SOURCE).as_posix()}": path.read_bytes()
        for path in sorted(_SOURCE.rglob("*"))
        if path.suffix in _TYPES
    }
    texts = {reason.name.removeprefix("drop_"): reason.text for reason in REASONS if reason.name.startswith("drop_")}
    read[f"{FOLDER}reasons.js"] = f"export const REASONS = {json.dumps(texts)};\n".encode()
    read[ROOT] = read.pop(f"{FOLDER}index.html")
    return {path: _file(path, body) for path, body in read.items()}


def _file(path: str, body: bytes) -> _File:
    kind = _TYPES[".html" if path == ROOT else Path(path).suffix]
    return _File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
