# SPDX-License-Identifier: Apache-2.0
"""Commands against a daemon that hangs: they say that they wait, and end with exit code 5."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.stopwatch import Stopwatch

from .cli_harness import Daemon, running_daemon, xdplb


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("hung")) as daemon, stopped(daemon):
        yield daemon


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def test_a_command_says_that_it_waits_and_ends_with_5(hung: Daemon) -> None:
    watch = Stopwatch()
    told = hung.run("--request-timeout", "3s", "vip", "ls")
    assert watch.seconds >= 3
    assert watch.unhindered < 6
    assert told.returncode == 5
    waiting, error, hint = told.stderr.splitlines()
    assert waiting == f"waiting for the daemon at {hung.socket} to answer, for up to 3 s"
    pid = hung.process.pid
    waited = waited_for(error)
    assert waited >= 3
    said = f"the daemon at {hung.socket} did not answer within {waited:g} s: its process {pid} is stopped"
    assert error == f"xdplb: error: {said}"
    assert hint == f"hint: kill -CONT {pid} lets it go on"


def waited_for(told: str) -> float:
    """Return for how many seconds a command says that it waited: a busy machine lets it look at its clock late."""
    found = re.search(r"did not answer within ([0-9.]+) s", " ".join(told.split()))
    assert found is not None, told
    return float(found[1])


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["version"],
        ["vip", "add", "203.0.113.10:80/tcp"],
        ["vip", "rm", "203.0.113.10:80/tcp"],
        ["backend", "drain", "web", "10.0.0.1", "--wait"],
        ["explain", "192.0.2.7:40000", "web"],
        ["capture", "-w", "-"],
        ["stats", "--rate", "1s"],
    ],
)
def test_every_command_that_asks_the_daemon_ends(hung: Daemon, words: list[str]) -> None:
    told = hung.run("--request-timeout", "300ms", *words)
    assert told.returncode == (0 if words == ["version"] else 5), told.stderr
    assert waited_for(told.stdout + told.stderr) >= 0.3
    is_change = words[1:2] in (["add"], ["rm"], ["drain"])
    assert ("A change that was asked for may still be made" in told.stderr) is is_change


@pytest.mark.parametrize("words", [["status", "--wait", "--timeout", "1s"]])
def test_what_waits_by_itself_waits_no_longer_than_it_says(hung: Daemon, words: list[str]) -> None:
    watch = Stopwatch()
    told = hung.run(*words)
    assert watch.unhindered < 4
    assert told.returncode == 5
    assert "not ready after 1s: the daemon at" in told.stderr


def test_a_queue_full_of_connections_is_no_daemon_that_is_down(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        listening.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.settimeout(0)
            waiting.connect_ex(str(path))
        told = xdplb("--socket", str(path), "--request-timeout", "500ms", "status")
    assert told.returncode == 5
    assert waited_for(told.stderr) >= 0.5


def test_the_timeout_is_also_in_the_environment_and_must_be_a_time(hung: Daemon) -> None:
    told = xdplb("--socket", str(hung.socket), "status", XDPLB_REQUEST_TIMEOUT="200ms")
    assert waited_for(told.stderr) >= 0.2
    for wrong in ("0", "soon", "-1s"):
        assert xdplb("--request-timeout", wrong, "status").returncode == 2
