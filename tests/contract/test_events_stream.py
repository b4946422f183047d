# SPDX-License-Identifier: Apache-2.0
"""The stream of events of a daemon: nothing that is kept is missed, and no reader is waited for."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stopwatch import Stopwatch

from .cli_harness import Daemon, running_daemon


class Reader:
    """A reader of the stream, which reads only when it is asked to."""

    def __init__(self, daemon: Daemon, query: str = "", last: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(daemon.socket))
        more = "" if last is None else f"Last-Event-ID: {last}\r\n"
        head = f"GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{more}\r\n"
        self.socket.sendall(head.encode())
        self._text = ""

    def status(self) -> int:
        """Return the status of the answer."""
        while "\r\n\r\n" not in self._text:
            self._more()
        head, _, self._text = self._text.partition("\r\n\r\n")
        return int(head.split()[1])

    def next(self) -> dict[str, str]:
        """Return the fields of the next message."""
        while "\n\n" not in self._text.replace("\r\n", ""):
            self._more()
        # Chunk sizes of HTTP/1.1 stand in lines of their own that end with CRLF, which no event does.
        plain = "".join(part for part in self._text.split("\r\n") if not _is_size(part))
        message, _, self._text = plain.partition("\n\n")
        return dict(line.partition(": ")[::2] for line in message.split("\n"))

    def event(self) -> Any:
        """Return the next event: its JSON object."""
        while "data" not in (found := self.next()):
            pass
        told = json.loads(found["data"])
        assert found.get("event") or told["id"] == int(found["id"])
        return told

    def ends(self) -> bool:
        """Read until the connection is closed; return whether it was."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def _more(self) -> None:
        found = self.socket.recv(1 << 16)
        assert found, "the stream has ended"
        self._text += found.decode()


def _is_size(text: str) -> bool:
    return bool(text) and all(sign in "0123456789abcdef" for sign in text) and len(text) < 7


@contextmanager
def reading(daemon: Daemon, query: str = "", last: int | None = None) -> Iterator[Reader]:
    reader = Reader(daemon, query, last)
    try:
        assert reader.status() == 200
        yield reader
    finally:
        reader.socket.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path, event_readers=4) as running:
        running.ok("vip", "add", "203.0.113.10:443/tcp", "--name", "web")
        yield running


def test_a_reader_gets_what_happens_and_goes_on_where_it_was_also_after_a_kill(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        daemon.ok("vip", "add", "203.0.113.10:443/tcp", "--name", "web")
        with reading(daemon, "?kind=change") as reader:
            begun = reader.next()
            assert begun["retry"] == "2000"
            position = int(begun["id"])
            for number in range(3):
                daemon.ok("backend", "add", "web", f"10.0.0.{number}")
            seen = [reader.event() for _ in range(3)]
            assert [one["backend"] for one in seen] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
            assert position < seen[0]["id"]
            assert seen[0]["actor"]["uid"] == os.getuid()
        daemon.ok("backend", "add", "web", "10.0.0.7")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(10)
    with running_daemon(tmp_path) as daemon:
        daemon.ok("backend", "add", "web", "10.0.0.8")
        with reading(daemon, "?kind=change", last=seen[1]["id"]) as reader:
            assert [reader.event()["backend"] for _ in range(3)] == ["10.0.0.2", "10.0.0.7", "10.0.0.8"]
        with reading(daemon, "?kind=daemon_started&since=1h") as reader:
            assert [reader.event()["data"]["last_run"] for _ in range(2)] == ["none", "killed"]
        with reading(daemon, last=1) as reader:
            while (found := reader.next()).get("event") != "missed":
                pass
            assert json.loads(found["data"]) == {"after": 1}
            assert reader.event()["id"] > 1


def test_readers_that_read_nothing_or_vanish_hold_up_neither_changes_nor_the_stop(daemon: Daemon) -> None:
    with ExitStack() as stack:
        readers = [stack.enter_context(reading(daemon, "?since=1h")) for _ in range(4)]
        full = Reader(daemon)
        assert full.status() == 503
        full.socket.close()
        readers[0].socket.close()
        time.sleep(0.5)
        stack.enter_context(reading(daemon))  # there is room again
        watch = Stopwatch()
        for number in range(10):
            daemon.ok("backend", "add", "web", f"10.0.1.{number}")
        assert watch.unhindered < 10
        watch = Stopwatch()
        daemon.end()
        assert watch.unhindered < 4, "readers are not waited for"
        assert readers[1].ends()
