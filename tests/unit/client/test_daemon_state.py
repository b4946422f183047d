# SPDX-License-Identifier: Apache-2.0
"""What is said of a daemon that does not answer, by processes that do what such a daemon does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from xdplb.client.daemon_state import DaemonState, state_behind, state_without_socket

LISTENS = """
import socket, subprocess, sys, threading, time
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen(int(sys.argv[2]))
"""
SERVES = "for _ in range(3): threading.Thread(target=time.sleep, args=[600], daemon=True).start()\n"
READY = "print('ready', flush=True)\n"
SLEEPS = READY + "time.sleep(600)\n"
SPINS = READY + "while True: pass\n"
COMPILES = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', 'xdplb.dataplane.compile'])\n"

Started = Callable[..., tuple[int, str]]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Start a process that listens and then does something; return its pid and the socket."""
    with ExitStack() as stack:

        def start(does: str, queue: int = 5, *, words: tuple[str, ...] = ()) -> tuple[int, str]:
            path = str(tmp_path / "api.sock")
            command = [sys.executable, "-c", LISTENS + does, path, str(queue), *words]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(lambda: os.killpg(process.pid, signal.SIGKILL))
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            assert process.stdout.readline() == b"ready\n"
            return process.pid, path

        yield start


def seen(path: str, words: str) -> DaemonState:
    """Return the state once it is this one: signals, and the command lines of new processes, take a moment."""
    end = time.monotonic() + 5
    while (state := state_behind(path)).words != words and time.monotonic() < end:
        time.sleep(0.02)
    assert state.words == words
    return state


def test_one_that_compiles_at_its_start(started: Started) -> None:
    pid, path = started(COMPILES + SLEEPS)
    state = seen(path, f"it is starting, and compiles a program (pid {pid})")
    assert state.works
    assert "status --wait" in state.hint


def test_one_that_starts(started: Started) -> None:
    pid, path = started(SLEEPS)
    assert state_behind(path).words == f"it is starting (pid {pid})"


def test_one_that_compiles_for_a_change(started: Started) -> None:
    pid, path = started(SERVES + COMPILES + SLEEPS)
    seen(path, f"it is running, and compiles a program (pid {pid})")


def test_one_that_is_busy(started: Started) -> None:
    pid, path = started(SERVES + SPINS)
    state = state_behind(path)
    assert state.words.startswith("it is running, but busy: it uses ")
    assert state.words.endswith(f"of a CPU (pid {pid})")
    assert state.works


def test_one_that_does_nothing(started: Started) -> None:
    pid, path = started(SERVES + SLEEPS)
    state = state_behind(path)
    assert state.words == f"its process {pid} holds the socket, but does not answer"
    assert not state.works


def test_one_that_is_stopped(started: Started) -> None:
    pid, path = started(SERVES + SLEEPS)
    os.kill(pid, signal.SIGSTOP)
    assert seen(path, f"its process {pid} is stopped").hint == f"kill -CONT {pid} lets it go on"


def test_one_that_is_told_to_listen_there_is_found_without_its_socket(started: Started) -> None:
    # As `python /usr/bin/xdplb up eth0 --listen unix:PATH` has them in its first words.
    pid, path = started(SLEEPS)
    other = f"{path}.other"
    assert state_without_socket(other) is None
    script = "import time; print('ready', flush=True); time.sleep(600)"
    words = [sys.executable, "-c", script, "xdplb", "up", "eth0", "--listen", f"unix:{other}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            state = state_without_socket(other)
            assert state is not None
            assert state.words == f"it is starting (pid {process.pid})"
        finally:
            process.kill()
    assert pid != process.pid
