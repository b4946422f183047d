# SPDX-License-Identifier: Apache-2.0
"""The commands of exec checks and of notifications, which another process runs: as many at once as a host can bear."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["MOST_COMMANDS", "Command", "CommandEnd", "Commands"]

MOST_COMMANDS = 32
"""How many commands run at a time; others wait."""
_MESSAGE_BYTES = 1 << 20
_GRACE_SECONDS = 1.0

OnEnd = Callable[["CommandEnd"], None]


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended: its exit code, negative for the signal that killed it, and what it printed at first.

    With an `error`, a sentence, it has not run.
    """

    status: int
    output: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: words of which the first is a path, as which user, for how many seconds at most, and its stdin."""

    words: tuple[str, ...]
    user: str
    environment: Mapping[str, str]
    seconds: float
    input: str = ""


class Commands:
    """Has commands run by the process at the other end of a socket, in the event loop in which it is started."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(0)
        self._numbers = 0
        self._running: dict[int, OnEnd | None] = {}
        self._waiting: deque[tuple[int, Command, OnEnd]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.error = ""
        """Why no command can be run any more."""

    def start(self) -> None:
        """Start in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._read)

    def stop(self) -> None:
        """End all commands: the other process kills them when the socket is closed."""
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._loop = None
        self._sock.close()

    def run(self, command: Command, on_end: OnEnd) -> int:
        """Run a command as soon as there is room; return its number. `on_end` is called once, unless it is cut."""
        self._numbers += 1
        if len(self._running) >= MOST_COMMANDS:
            self._waiting.append((self._numbers, command, on_end))
        else:
            self._begin(self._numbers, command, on_end)
        return self._numbers

    def has_begun(self, number: int) -> bool:
        """Return whether this command, which has not ended, runs and does not wait."""
        return number in self._running

    def cut(self, number: int) -> None:
        """Kill a command that has not ended, or let it not begin. It takes its place until it is dead."""
        if number in self._running:
            self._running[number] = None
            self._send({"cut": number})
        else:
            self._waiting = deque(each for each in self._waiting if each[0] != number)

    def _begin(self, number: int, command: Command, on_end: OnEnd) -> None:
        self._running[number] = on_end
        message = {
            "run": number,
            "command": command.words,
            "user": command.user,
            "env": dict(command.environment),
            "seconds": command.seconds + _GRACE_SECONDS,
            "input": command.input,
        }
        if not self._send(message):
            self._tell(number, CommandEnd(0, "", self.error or "the process that runs commands does not keep up"))

    def _send(self, message: Mapping[str, object]) -> bool:
        try:
            self._sock.send(json.dumps(message).encode())
        except BlockingIOError:
            return False
        except OSError as error:
            self.error = f"the process that runs commands cannot be reached ({error.strerror}): restart the daemon"
            return False
        return True

    def _read(self) -> None:
        try:
            data = self._sock.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone()
            return
        said = json.loads(data)
        self._tell(said["ended"], CommandEnd(said.get("status", 0), said.get("output", ""), said.get("error", "")))

    def _gone(self) -> None:
        """Take note that the other process has ended."""
        self.error = "the process that runs commands has ended: restart the daemon"
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        for number in list(self._running):
            self._tell(number, CommandEnd(0, "", self.error))

    def _tell(self, number: int, end: CommandEnd) -> None:
        on_end = self._running.pop(number, None)
        while self._waiting and len(self._running) < MOST_COMMANDS:
            self._begin(*self._waiting.popleft())
        if on_end is not None:
            on_end(end)
