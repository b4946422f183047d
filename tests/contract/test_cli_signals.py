# SPDX-License-Identifier: Apache-2.0
"""No signal ends the daemon without a line in its log."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from xdplb.daemon.holder import Detaching
from xdplb.daemon.run import farewell

from .cli_harness import running_daemon

GOES_ON = [
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO),
    *(signal.SIGPWR, signal.SIGPIPE, signal.SIGRTMIN, signal.SIGRTMAX),
]
STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU, signal.SIGTRAP]


def test_signals_without_a_meaning_are_logged_and_it_goes_on(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        for number in GOES_ON:
            daemon.process.send_signal(number)
            time.sleep(0.05)  # two at once may be handled in any order
            daemon.ok("vip", "ls")
        assert daemon.process.poll() is None
        log = daemon.stop()
    assert "reloaded: there is no config file to read again" in log
    for number in set(GOES_ON) - {signal.SIGHUP, signal.SIGPIPE}:
        assert f"{signal.Signals(number).name} has no meaning" in log, number
    assert daemon.process.returncode == 0


@pytest.mark.parametrize("number", STOPS)
def test_signals_that_end_it_say_so_and_end_it_in_order(tmp_path: Path, number: signal.Signals):
    with running_daemon(tmp_path) as daemon:
        daemon.process.send_signal(number)
        _, log = daemon.process.communicate(timeout=20)
    assert f"{number.name}: stopping" in log
    assert "the program stays on eth0" in log.splitlines()[-1]
    assert daemon.process.returncode == 0
    assert list((tmp_path / "run" / "locks").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_leaves_a_traceback(tmp_path: Path, number: signal.Signals):
    with running_daemon(tmp_path) as daemon:
        daemon.process.send_signal(number)
        _, log = daemon.process.communicate(timeout=20)
    assert "Fatal Python error" in log
    # faulthandler walks the stacks of threads that go on running, and may meet one that is no longer there.
    assert daemon.process.returncode in {-number, -signal.SIGSEGV}


def test_the_last_line_says_what_becomes_of_the_program():
    stays = "the program stays on eth0 and keeps forwarding: xdplb down eth0 detaches it"
    assert farewell(["eth0"], None) == f"stopped; {stays}"
    assert farewell([], None) == "stopped; the program is on no NIC"
    assert farewell(["eth0"], Detaching(1, ())) == "stopped by xdplb down, which detaches the program from eth0"
    assert farewell(["eth0", "eth1"], Detaching(1, ("eth1",))) == (
        f"stopped by xdplb down, which detaches the program from eth1; {stays}"
    )
    assert farewell([], Detaching(1, ())) == "stopped by xdplb down, which detaches what is left"
