# SPDX-License-Identifier: Apache-2.0
"""Asking the API over its Unix socket: for tests that ask a daemon without the commands, and for measurements."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Any

from xdplb.client.target import UnixConnection

__all__ = ["ApiConnection", "asked"]


class ApiConnection(UnixConnection):
    """A connection to the socket at `path`, which is kept for the next request until it is closed."""

    def __init__(self, path: Path, *, timeout: float = 30) -> None:
        super().__init__(str(path), timeout)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return the status and the body of the answer: decoded if it is JSON, else as bytes."""
        content = None if body is None else json.dumps(body)
        self.request(method, path, content, {} if content is None else {"Content-Type": "application/json"})
        with self.getresponse() as answer:
            told = answer.read()
            is_json = "json" in (answer.headers["Content-Type"] or "")
        return answer.status, json.loads(told) if told and is_json else told


def asked(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Message, bytes]:
    """Ask by a connection, which is closed then; return status, headers and body. `_` in a header's name is `-`."""
    given = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    content = None
    if body is not None:
        content, given["Content-Type"] = json.dumps(body), "application/json"
    with closing(connection):
        connection.request(method, path, content, given)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
