# SPDX-License-Identifier: Apache-2.0
"""A daemon one of whose threads hangs: it says so, writes all stacks to the log, and is silent towards systemd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xdplb.daemon.watchdog import watchdog_seconds

from .cli_harness import Daemon, running_module

SECONDS = 1.0
"""What systemd is said to want: a thread hangs after half of it."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("watchdog")
    settings = {"WATCHDOG_USEC": str(int(SECONDS * 1e6))}
    with (
        (folder / "log").open("w") as log,
        running_module("hanging_daemon", folder, log=log.fileno(), environment=settings) as running,
    ):
        yield running


@pytest.fixture
def logged(daemon: Daemon) -> Callable[[], str]:
    """Return what the daemon has logged since."""
    before = len((daemon.folder / "log").read_text())
    return lambda: (daemon.folder / "log").read_text()[before:]


def within(seconds: float, true: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.05)


def reasons(daemon: Daemon) -> str:
    return "; ".join(json.loads(daemon.get("/readyz")).get("reasons", []))


def pings(daemon: Daemon) -> bool:
    """Return whether systemd hears of it now."""
    daemon.notifications()
    end = time.monotonic() + SECONDS / 2
    while time.monotonic() < end:
        if "WATCHDOG=1" in daemon.notifications():
            return True
        time.sleep(0.02)
    return False


def request(daemon: Daemon, *arguments: str) -> subprocess.Popen[bytes]:
    """Run a command that may hang."""
    command = [str(Path(sys.executable).with_name("xdplb")), "--socket", str(daemon.socket), *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_hung_thread_of_the_maps_is_told_and_systemd_hears_nothing_until_it_goes_on(
    daemon: Daemon, logged: Callable[[], str]
):
    within(10, lambda: pings(daemon))
    assert b'xdplb_thread_hung{thread="maps thread"} 0' in daemon.get("/metrics")
    (daemon.folder / "hang-maps").touch()
    within(10, lambda: "the maps thread hangs" in reasons(daemon))
    assert not pings(daemon)
    assert b'xdplb_thread_hung{thread="maps thread"} 1' in daemon.get("/metrics")
    (daemon.folder / "hang-maps").unlink()
    within(10, lambda: "a thread goes on: thread='maps thread'" in logged())
    assert "hangs" not in reasons(daemon)
    within(10, lambda: pings(daemon))
    assert "CRITICAL a thread hangs: thread='maps thread'" in logged()
    assert logged().count("the stacks of all threads:") == 1
    assert "thread xdplb-maps_0, the most recent call last:" in logged()
    assert 'hang_while(self._folder / "hang-maps")' in logged()


def test_a_thread_that_works_for_long_does_not_hang(daemon: Daemon, logged: Callable[[], str]):
    (daemon.folder / "work-maps").touch()
    time.sleep(1.5 * SECONDS)
    (daemon.folder / "work-maps").unlink()
    assert "thread='maps thread'" not in logged()
    within(10, lambda: pings(daemon))


def test_a_hung_control_loop_is_told_by_readyz(daemon: Daemon, logged: Callable[[], str]):
    (daemon.folder / "hang-loop").touch()
    with request(daemon, "vip", "add", "203.0.113.10:443/tcp"):
        within(10, lambda: "the control loop hangs" in reasons(daemon))
        assert "no change is made, and no backend is checked" in reasons(daemon)
        assert not pings(daemon)
        (daemon.folder / "hang-loop").unlink()
    within(10, lambda: pings(daemon))
    assert "a thread hangs: thread='control loop'" in logged()
    assert "thread MainThread, the most recent call last:" in logged()


def test_a_hung_api_is_told_in_the_log_and_to_systemd(daemon: Daemon, logged: Callable[[], str]):
    (daemon.folder / "hang-api").touch()
    with request(daemon, "status"):
        within(10, lambda: "a thread hangs: thread='API thread'" in logged())
        assert not pings(daemon)
        (daemon.folder / "hang-api").unlink()
    within(10, lambda: pings(daemon))


def test_a_daemon_that_was_stopped_as_a_whole_has_no_thread_that_hangs(daemon: Daemon, logged: Callable[[], str]):
    within(10, lambda: pings(daemon))
    daemon.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5 * SECONDS)
    daemon.process.send_signal(signal.SIGCONT)
    within(10, lambda: pings(daemon))
    assert "a thread hangs" not in logged()
    assert "most recent call" not in logged()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_what_systemd_wants_is_read_as_sd_watchdog_enabled_does(environment: dict[str, str], seconds: float | None):
    assert watchdog_seconds(environment, os.getpid()) == seconds
