# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of exec checks or of notifications: `python -m xdplb.daemon.command_runner FD [ROOT]`.

The daemon gives up the capabilities to be somebody else, and is too large to fork without a pause. This process is
started before, is small, and keeps nothing but what it takes to run a command as another user and to kill it. It does
what comes over its socket, a message of JSON each, and ends with it, even if the daemon is killed; no command outlives
it.

A command runs in a session of its own, without a shell, with its output cut, and with no way to more privileges.
With ROOT it may run as root, too, which then has hardly a capability. When
it ends or its time is over, its whole process group is killed, and whatever else it has left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from xdplb.capabilities import KILL, SETGID, SETUID, keep_only

__all__ = ["main"]

_MOST_OUTPUT = 1024
"""How much output is handed on."""
_MOST_READ = 1 << 20
"""How much is read: a command that prints more waits until it is killed."""
_READ_BYTES = 65536
_GRACE_SECONDS = 0.5
"""From SIGTERM to SIGKILL."""
_MESSAGE_BYTES = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_KNOWN_USERS = 64


@dataclass(slots=True)
class _Run:
    """A command that runs."""

    number: int
    process: subprocess.Popen[bytes]
    pidfd: int
    deadline: float
    output: bytearray = field(default_factory=bytearray)
    read: int = 0
    is_told: bool = False
    """Its group has got SIGTERM; at the deadline it gets SIGKILL."""

    def take(self, data: bytes) -> None:
        """Count what it has printed, and keep the beginning."""
        self.output += data[: _MOST_OUTPUT - len(self.output)]
        self.read += len(data)


class _Runner:
    def __init__(self, sock: socket.socket, *, allows_root: bool) -> None:
        self._sock, self._allows_root = sock, allows_root
        self._epoll = select.epoll()
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._by_number: dict[int, _Run] = {}
        self._by_fd: dict[int, _Run] = {}

    def serve(self) -> None:
        """Do what comes, until the socket is closed."""
        while True:
            # By run, not by number: one that begins now may get the number of a file of one that ends.
            news = [(fd, self._by_fd.get(fd)) for fd, _ in self._epoll.poll(self._patience())]
            for fd, run in news:
                if run is None:
                    if not self._take():
                        self._end_all()
                        return
                elif run.number not in self._by_number:
                    continue
                elif fd == run.pidfd:
                    self._ended(run)
                else:
                    self._read(run)
            self._kill_late()

    def _patience(self) -> float:
        if not self._by_number:
            return -1.0
        return max(0.0, min(run.deadline for run in self._by_number.values()) - time.monotonic())

    def _take(self) -> bool:
        """Do what one message says; return False if there will be no more."""
        data = self._sock.recv(_MESSAGE_BYTES)
        if not data:
            return False
        message: dict[str, Any] = json.loads(data)
        if "cut" in message:
            if (run := self._by_number.get(message["cut"])) is not None and not run.is_told:
                self._tell(run)
            return True
        try:
            self._start(message)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            self._answer(message["run"], error=_sentence(message, error))
        return True

    def _start(self, message: dict[str, Any]) -> None:
        uid, gid, groups = _identity(message["user"])
        if uid == 0 and not self._allows_root:
            raise ValueError(f"user {message['user']} is root, as whom no check may run")
        with _input(message["input"]) as given:
            process = self._popen(message, given, uid=uid, gid=gid, groups=groups)
        run = _Run(message["run"], process, os.pidfd_open(process.pid), time.monotonic() + message["seconds"])
        self._by_number[run.number] = self._by_fd[run.pidfd] = self._by_fd[_output(run)] = run
        os.set_blocking(_output(run), False)
        self._epoll.register(run.pidfd, select.EPOLLIN)
        self._epoll.register(_output(run), select.EPOLLIN)

    @staticmethod
    def _popen(
        message: dict[str, Any], given: BinaryIO, *, uid: int, gid: int, groups: list[int]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            message["command"],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**_ENVIRONMENT, **message["env"]},
            user=uid,
            group=gid,
            extra_groups=groups,
            umask=0o022,
            start_new_session=True,
        )

    def _read(self, run: _Run) -> None:
        try:
            data = os.read(_output(run), _READ_BYTES)
        except BlockingIOError:
            return
        run.take(data)
        if not data or run.read >= _MOST_READ:
            self._epoll.unregister(_output(run))

    def _tell(self, run: _Run) -> None:
        run.is_told, run.deadline = True, time.monotonic() + _GRACE_SECONDS
        _kill(run.process.pid, signal.SIGTERM)

    def _kill_late(self) -> None:
        now = time.monotonic()
        for run in list(self._by_number.values()):
            if now < run.deadline:
                continue
            if run.is_told:
                _kill(run.process.pid, signal.SIGKILL)
                run.deadline = now + _GRACE_SECONDS
            else:
                self._tell(run)

    def _ended(self, run: _Run) -> None:
        _kill(run.process.pid, signal.SIGKILL)  # its group, before its number can be another's
        status = run.process.wait()
        with contextlib.suppress(OSError):
            while run.read < _MOST_READ and (data := os.read(_output(run), _READ_BYTES)):
                run.take(data)
        del self._by_number[run.number], self._by_fd[run.pidfd], self._by_fd[_output(run)]
        os.close(run.pidfd)
        assert run.process.stdout is not None
        run.process.stdout.close()
        self._answer(run.number, status=status, output=run.output.decode("utf-8", "backslashreplace"))
        self._kill_left_behind()

    def _kill_left_behind(self) -> None:
        """Kill what commands that have ended left to this process: what went into a session of its own."""
        groups = {run.process.pid for run in self._by_number.values()}
        for pid in _children():
            with contextlib.suppress(OSError):
                if pid not in groups and os.getpgid(pid) not in groups:
                    os.kill(pid, signal.SIGKILL)
                    os.waitid(os.P_PID, pid, os.WEXITED)

    def _end_all(self) -> None:
        for run in self._by_number.values():
            _kill(run.process.pid, signal.SIGKILL)
        self._by_number.clear()
        self._kill_left_behind()

    def _answer(self, number: int, **said: object) -> None:
        self._sock.send(json.dumps({"ended": number, **said}).encode())


def _input(text: str) -> BinaryIO:
    """Return a file with this text, from its beginning: of a pipe, whoever writes it may have to wait."""
    if not text:
        return open(os.devnull, "rb")  # noqa: PTH123
    given = os.fdopen(os.memfd_create("input"), "w+b")
    given.write(text.encode())
    given.seek(0)
    return given


def _output(run: _Run) -> int:
    assert run.process.stdout is not None
    return run.process.stdout.fileno()


def _kill(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _children() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for each in Path("/proc/thread-self/children").read_text(encoding="ascii").split():
            yield int(each)


@lru_cache(maxsize=_KNOWN_USERS)
def _identity(user: str) -> tuple[int, int, list[int]]:
    found = pwd.getpwnam(user)
    return found.pw_uid, found.pw_gid, os.getgrouplist(user, found.pw_gid)


def _sentence(message: dict[str, Any], error: Exception) -> str:
    path = message["command"][0]
    if isinstance(error, KeyError):
        return f"there is no user {message['user']} on this host"
    if isinstance(error, FileNotFoundError):
        return f"there is no {path} on this host"
    if isinstance(error, PermissionError):
        return f"user {message['user']} may not run {path}, or this daemon may not run anything as that user"
    if isinstance(error, OSError):
        return f"{path} cannot be run: {error.strerror}"
    return f"{path} cannot be run: {error}"


def main() -> None:
    """Serve the socket whose number is the first argument; with a second one, root is a user like others."""
    for number in (signal.SIGINT, signal.SIGHUP):  # those of a terminal are for the daemon
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keep_only({KILL, SETGID, SETUID})
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        _Runner(sock, allows_root=len(sys.argv) > 2).serve()


if __name__ == "__main__":
    main()
