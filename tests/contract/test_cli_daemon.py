# SPDX-License-Identifier: Apache-2.0
"""The life of the daemon that `xdplb up` is."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

from .cli_harness import REPOSITORY, running_daemon


def test_it_tells_systemd_when_it_is_ready_and_when_it_stops(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        assert daemon.notified[0].startswith("READY=1\n")
        assert "eth0 (native)" in daemon.notified[0]
        daemon.stop()
    assert daemon.notified[-1] == "STOPPING=1"


def test_stopped_it_says_that_the_nic_stays_attached_and_leaves_nothing_open(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        log = daemon.stop()
    assert daemon.process.returncode == 0
    assert "the program stays on eth0" in log
    assert "xdplb down eth0" in log
    assert "Traceback" not in log
    assert not daemon.socket.exists()
    assert list((tmp_path / "run" / "locks").iterdir()) == []


def test_its_socket_is_for_its_group_alone(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660


def test_a_second_one_on_the_nic_is_refused_by_name_of_the_first(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        program = (
            "import dataclasses, sys\n"
            "from pathlib import Path\n"
            "from tests.contract.cli_daemon import options_in, parts_in\n"
            "from xdplb.daemon.run import run\n"
            f"first, second = Path({str(tmp_path)!r}), Path({str(tmp_path / 'second')!r})\n"
            "try:\n"
            "    run(options_in(second), parts_in(first))\n"
            "except Exception as error:\n"
            "    sys.exit(f'{type(error).__name__} {error.exit_code}: {error}')\n"
        )
        told = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
        )
        assert told.stderr.startswith("ConflictError 4: eth0 is held by another xdplb")
        assert f"pid {daemon.process.pid}" in told.stderr
        assert str(tmp_path / "pins") in told.stderr
        daemon.ok("vip", "ls")


def test_what_was_asked_survives_kill_9(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        daemon.ok("vip", "add", "203.0.113.10:443/tcp", "--name", "web", "--check", "tcp")
        daemon.ok("backend", "add", "web", "10.0.0.1", "--weight", "5")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    with running_daemon(tmp_path) as daemon:
        assert "10.0.0.1       5" in daemon.ok("backend", "ls", "web").stdout
        daemon.ok("health", "show", "web")
