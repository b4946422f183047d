# SPDX-License-Identifier: Apache-2.0
"""--watch: the same again and again, in place on a terminal, until Ctrl-C; progress is shown on a terminal only."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .cli_harness import Daemon, running_daemon, xdplb
from .test_cli_help import COMMANDS, options

XDPLB = str(Path(sys.executable).with_name("xdplb"))
SECONDS = 20


class Watched:
    """A command that runs, and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], out: int) -> None:
        self.process, self._out, self.text = process, out, ""

    def until(self, wanted: str) -> str:
        """Read until it has printed this pattern; return all since the beginning."""
        end = time.monotonic() + SECONDS
        while re.search(wanted, self.text, re.DOTALL) is None:
            if select.select([self._out], [], [], max(0.0, end - time.monotonic()))[0]:
                read = self._read()
                self.text += read
                if read:
                    continue
            raise AssertionError(f"{wanted!r} is not in:\n{self.text}")
        return self.text

    def end(self, how: int = signal.SIGINT) -> int:
        """End it with a signal; return its exit code."""
        self.process.send_signal(how)
        while read := self._read():
            self.text += read
        return self.process.wait(SECONDS)

    def _read(self) -> str:
        try:
            return os.read(self._out, 65536).decode()
        except OSError:  # the terminal is closed
            return ""


@contextmanager
def watching(daemon: Daemon, *words: str, lines: int = 0, term: str = "xterm") -> Iterator[Watched]:
    """Run a command, with its output in a pipe; or on a terminal of so many lines, and 80 columns."""
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    environment["TERM"] = term
    if lines:
        out, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", lines, 80, 0, 0))
    else:
        out, theirs = os.pipe()
    command = [XDPLB, "--socket", str(daemon.socket), *words]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Watched(process, out)
    finally:
        process.kill()
        process.wait()
        os.close(out)


def test_all_that_shows_what_there_is_can_be_watched():
    shows = [name for name in COMMANDS if name.rpartition(" ")[2] in ("ls", "show") and name != "backend-host show"]
    assert all("--watch" in options(name) for name in [*shows, "status", "stats"])


def test_in_a_pipe_they_are_printed_one_after_the_other_with_the_time(web: Daemon):
    with watching(web, "backend", "ls", "--watch", "100ms") as watched:
        watched.until(r"10\.0\.0\.2.*\n\n[^\n]*UTC\nVIP.*10\.0\.0\.2.*10\.0\.0\.2")
        assert watched.end() == 0
    blocks = watched.text.split("\n\n")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", block.splitlines()[0]) for block in blocks)
    assert "\x1b" not in watched.text
    assert "Traceback" not in watched.text


def test_json_is_a_document_a_line(web: Daemon):
    with watching(web, "vip", "ls", "-o", "json", "--watch=100ms") as watched:
        watched.until(r"\n.*\n.*\n")
        assert watched.end() == 0
    lines = watched.text.splitlines()
    assert all(json.loads(line) == json.loads(web.get("/v1/vips")) for line in lines)


def test_what_follows_it_may_be_a_vip(web: Daemon):
    with watching(web, "backend", "ls", "--watch", "web") as watched:
        watched.until("UTC\nBACKEND .*10.0.0.2")
        assert watched.end() == 0


def test_on_a_terminal_it_is_redrawn_and_the_last_one_stays(web: Daemon):
    with watching(web, "vip", "ls", "--watch", "100ms", lines=24) as watched:
        watched.until(r"\x1b\[\?1049h.*\x1b\[H.*web.*\x1b\[J.*\x1b\[H.*web.*\x1b\[J")
        assert watched.end() == 0
    assert watched.text.count("\x1b[?1049h") == watched.text.count("\x1b[?1049l") == 1
    last = watched.text.rpartition("\x1b[?1049l")[2]
    assert re.search(r"^\d.* UTC  xdplb vip ls, every 100ms; Ctrl-C ends it\r\n", last)
    assert "203.0.113.10:443/tcp" in last


def test_a_terminal_is_left_as_it_was_after_sigterm(web: Daemon):
    with watching(web, "vip", "ls", "--watch", "100ms", lines=24) as watched:
        watched.until(r"\x1b\[J")
        assert watched.end(signal.SIGTERM) == 143
    assert "\x1b[?1049l" in watched.text


def test_on_a_low_terminal_it_says_how_much_there_is_beside(web: Daemon):
    with watching(web, "vip", "show", "web", "--watch", "100ms", lines=10) as watched:
        watched.until(r"\x1b\[J")
        assert watched.end() == 0
    frame = watched.text.partition("\x1b[H")[2].partition("\x1b[J")[0]
    assert len(frame.splitlines()) == 9
    assert re.search(r"… \d+ more lines: the terminal is too low", frame)


def test_a_dumb_terminal_gets_no_control_sequences(web: Daemon):
    with watching(web, "vip", "ls", "--watch", "100ms", lines=24, term="dumb") as watched:
        watched.until(r"UTC.*UTC")
        assert watched.end() == 0
    assert "\x1b[?" not in watched.text
    assert "\x1b[H" not in watched.text


def test_it_outlives_a_restart_of_the_daemon(tmp_path: Path):
    with running_daemon(tmp_path) as first:
        first.ok("vip", "add", "203.0.113.10:443/tcp", "--name", "web")
        with watching(first, "vip", "ls", "--watch", "100ms") as watched:
            watched.until("UTC")
            first.stop()
            watched.until("waiting until it is there again")
            with running_daemon(tmp_path):
                watched.until("the daemon is there again.*UTC\nVIP.*web")
                assert watched.end() == 0
    assert watched.text.count("waiting until it is there again") == 1


def test_what_is_wrong_at_once_is_told_as_always(web: Daemon, tmp_path: Path):
    assert web.run("vip", "show", "nope", "--watch").returncode == 1
    assert xdplb("--socket", str(tmp_path / "none"), "vip", "ls", "--watch").returncode == 3
    assert web.run("vip", "ls", "--watch=soon").returncode == 2
    assert web.run("vip", "ls", "--watch=0").returncode == 2


@pytest.mark.parametrize(("term", "shown"), [("xterm", True), ("dumb", False)])
def test_a_terminal_shows_progress_and_erases_it(web: Daemon, term: str, shown: bool):
    with watching(web, "stats", "--rate", "1700ms", lines=24, term=term) as watched:
        watched.until("ACTION")
        assert watched.process.wait(SECONDS) == 0
    line = "\r\x1b[Kcounting for 1.7s: 1 s"
    assert (line in watched.text) is shown
    if shown:
        assert watched.text.partition(line)[2].index("\r\x1b[K") < watched.text.partition(line)[2].index("VIP")
    assert "\x1b[K" in watched.text or not shown
