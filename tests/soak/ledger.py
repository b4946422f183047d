# SPDX-License-Identifier: Apache-2.0
"""What the API has acknowledged, to be compared with what is there after every kill."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import closing
from http import HTTPStatus
from itertools import count
from pathlib import Path

from tests.asking import ApiConnection

__all__ = ["ADDRESS", "Ledger"]

ADDRESS = "203.0.113.20"
"""The ledger's VIPs are at this address. They have no backends."""

_KEPT = 50
_PAUSE_SECONDS = 0.05


class Ledger:
    """Adds and removes VIPs without a pause, in a thread of its own, whatever happens to the daemon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._there: set[int] = set()
        self._unknown: set[int] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.acknowledged = self.refused = self.unanswered = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def lost(self) -> set[int]:
        """Return the ports whose VIP is not as it was acknowledged; the daemon must be running."""
        with self._lock, closing(ApiConnection(self._path)) as connection:
            _, answer = connection.ask("GET", "/v1/vips")
            there = {vip["port"] for vip in answer["vips"] if vip["address"] == ADDRESS}
            lost = (there ^ self._there) - self._unknown
            self._there, self._unknown = there, set()
            return lost

    def stop(self) -> None:
        """Write no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        ports = count(1)
        while not self._stopping.is_set():
            try:
                with closing(ApiConnection(self._path)) as connection:
                    while not self._stopping.is_set():
                        self._write(connection, next(ports) % 60000 + 1)
                        time.sleep(_PAUSE_SECONDS)
            except (OSError, http.client.HTTPException):
                time.sleep(_PAUSE_SECONDS)

    def _write(self, connection: ApiConnection, port: int) -> None:
        with self._lock:
            there = sorted(self._there)
            if len(there) >= _KEPT:
                self._ask(connection, "DELETE", there[0], f"/v1/vips/{ADDRESS}:{there[0]}:tcp", None)
            self._ask(connection, "POST", port, "/v1/vips", {"address": ADDRESS, "port": port, "protocol": "tcp"})

    def _ask(self, connection: ApiConnection, method: str, port: int, path: str, body: object) -> None:
        asked_before = port in self._unknown
        self._unknown.add(port)  # until there is an answer
        try:
            status, _ = connection.ask(method, path, body)
        except (OSError, http.client.HTTPException):
            self.unanswered += 1
            raise
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.refused += 1  # it may be saved all the same
            return
        gone = status == HTTPStatus.NOT_FOUND and asked_before
        if status < HTTPStatus.BAD_REQUEST or gone:
            self.acknowledged += 1
            (self._there.add if method == "POST" else self._there.discard)(port)
        else:
            self.refused += 1
        self._unknown.discard(port)
