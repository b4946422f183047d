# SPDX-License-Identifier: Apache-2.0
"""Answers while everything changes: the API asks from its own thread, and finds nothing half done."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

from tests.asking import ApiConnection

from .cli_harness import Daemon, running_daemon

VIP = {"address": "203.0.113.10", "port": 443, "protocol": "tcp"}
KEY = "/v1/vips/203.0.113.10:443:tcp"
SETS = [[{"address": f"10.0.0.{number}"} for number in numbers] for numbers in (range(1, 9), range(5, 13), range(0))]
ASKED = [
    *("/metrics", "/readyz", "/v1/backends", "/v1/dataplane", "/v1/stats", "/v1/status", "/v1/vips"),
    *(KEY, f"{KEY}/backends", f"{KEY}/backends/10.0.0.6", f"{KEY}/health-check", f"{KEY}/stats", f"{KEY}/access"),
]
SECONDS = 4


def _ask(daemon: Daemon, method: str, path: str, body: object = None) -> int:
    with closing(ApiConnection(daemon.socket, timeout=20)) as connection:
        return connection.ask(method, path, body)[0]


def test_no_answer_fails_while_vips_and_backends_come_and_go(tmp_path: Path):
    found: list[tuple[str, int]] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            for path in ASKED:
                status = _ask(daemon, "GET", path)
                if status not in {200, 404} and (path, status) != ("/readyz", 503):
                    found.append((path, status))

    with running_daemon(tmp_path) as daemon:
        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            assert _ask(daemon, "POST", "/v1/vips", VIP) == 201
            assert _ask(daemon, "PUT", f"{KEY}/health-check", {"type": "tcp"}) == 201
            for wanted in SETS:
                assert _ask(daemon, "PUT", f"{KEY}/backends", {"backends": wanted}) == 200
            assert _ask(daemon, "DELETE", KEY) == 204
        is_over.set()
        for asker in askers:
            asker.join()
        log = daemon.stop()
    assert found == []
    assert "Traceback" not in log
