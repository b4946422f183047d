# SPDX-License-Identifier: Apache-2.0
"""Thousands of random and hostile requests change nothing, and leave no descriptor and no memory behind."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tests.hostile import hostile_requests, send_all

from .cli_harness import WEB, Daemon, running_daemon

REQUESTS = int(os.environ.get("XDPLB_HOSTILE_REQUESTS", "1500"))
"""Of each of two rounds. 5000 make the ten thousand that nothing may change; that takes half a minute."""
GROWTH_KIB = 3 << 10


def everything(daemon: Daemon) -> object:
    """Return all that was asked for, and its generation."""
    vips = json.loads(daemon.get("/v1/vips"))["vips"]
    paths = ("/v1/vips/web/backends", "/v1/vips/web/health-check", "/v1/vips/web/access", "/v1/config")
    asked = [{name: value for name, value in vip.items() if name != "status"} for vip in vips]
    below = [json.loads(daemon.get(path)) for path in paths]
    return json.loads(daemon.get("/v1/status"))["generation"], asked, [_without_status(each) for each in below]


def _without_status(body: object) -> object:
    if isinstance(body, dict):
        return {name: _without_status(value) for name, value in body.items() if name not in {"status", "results"}}
    return [_without_status(each) for each in body] if isinstance(body, list) else body


def resident_kib(daemon: Daemon) -> int:
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def descriptors(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def test_hostile_requests_change_nothing_and_leave_nothing_behind(tmp_path: Path):
    with (tmp_path / "log").open("w") as log, running_daemon(tmp_path, log=log.fileno()) as daemon:
        daemon.ok("vip", "add", WEB, "--name", "web", "--check", "tcp")
        daemon.ok("backend", "add", WEB, "10.0.0.11")
        before = everything(daemon)
        told = send_all(daemon.socket, hostile_requests(REQUESTS, seed=1))  # what is made once is made by now
        kib, opened = resident_kib(daemon), descriptors(daemon)
        told += send_all(daemon.socket, hostile_requests(REQUESTS, seed=2))
        assert everything(daemon) == before
        assert not [
            line for line in told if line.startswith(b"HTTP/1.1 5") and b" 503" not in line and b" 501" not in line
        ]
        end = time.monotonic() + 5
        while descriptors(daemon) > opened and time.monotonic() < end:
            time.sleep(0.05)
        assert descriptors(daemon) <= opened
        assert resident_kib(daemon) - kib < GROWTH_KIB
        assert "Traceback" not in (tmp_path / "log").read_text()
