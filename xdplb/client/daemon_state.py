# SPDX-License-Identifier: Apache-2.0
"""What this host can tell of a daemon that does not answer: whether it is starting, at work, stopped, or hangs.

The kernel says which process listens on a Unix socket, even if that process does nothing; /proc says the rest, also to
users who may not signal it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

__all__ = ["DaemonState", "state_behind", "state_without_socket"]

_PROC = Path("/proc")
_COMPILER = "xdplb.dataplane.compile"
"""What a process that compiles for the daemon has on its command line: `dataplane/compile.py`."""

_USUAL_PLACE = "unix:/run/xdplb/api.sock"
_SAMPLE_SECONDS = 0.2
_BUSY_SHARE = 0.5
_THREADS_OF_START = 2
_LOG = "see its log: journalctl -u xdplb"


@dataclass(frozen=True, slots=True)
class DaemonState:
    """In words how the daemon is, and what to do. `works`: an answer may still come, since it is at work."""

    words: str
    hint: str
    works: bool = False


def state_behind(socket_path: str) -> DaemonState:
    """Return how the daemon is that listens on a Unix socket and does not answer. It takes 0.2 s."""
    pid = _listener(socket_path) or next(_daemons_for(socket_path), 0)
    if not pid:
        return DaemonState("its process cannot be seen from here", f"is it an xdplb daemon? If it is, {_LOG}")
    try:
        return _state_of(pid)
    except (OSError, ValueError, IndexError):  # it has just ended
        return DaemonState(
            f"its process {pid} has ended", "try again; if nothing listens, start it: sudo xdplb up IFACE"
        )


def state_without_socket(socket_path: str) -> DaemonState | None:
    """Return how the daemon is that should listen there and does not, None if there is no such process."""
    for pid in _daemons_for(socket_path):
        with suppress(OSError, ValueError, IndexError):
            if _is_starting(pid):
                return DaemonState(
                    f"it is starting (pid {pid})", "xdplb status --wait returns when it is ready", works=True
                )
            return DaemonState(
                f"it runs (pid {pid}), but its socket is gone", "restart it: packets are forwarded meanwhile"
            )
    return None


def _state_of(pid: int) -> DaemonState:
    is_starting = _is_starting(pid)
    begun = "it is starting" if is_starting else "it is running"
    state = _stat(pid)[0]
    if state in "Tt":
        return DaemonState(f"its process {pid} is stopped", f"kill -CONT {pid} lets it go on")
    if _compiles(pid):
        hint = "xdplb status --wait returns when it is ready" if is_starting else "this takes seconds: try again"
        return DaemonState(f"{begun}, and compiles a program (pid {pid})", hint, works=True)
    if is_starting:
        return DaemonState(
            f"it is starting (pid {pid})", f"xdplb status --wait returns when it is ready; or {_LOG}", works=True
        )
    share, is_waiting_for_cpu = _cpu_use(pid)
    if share >= _BUSY_SHARE or is_waiting_for_cpu:
        words = f"it is running, but busy: it uses {share:.0%} of a CPU (pid {pid})"
        return DaemonState(words, f"try again, with a longer --request-timeout; or {_LOG}", works=True)
    waits = ", and waits for a disk or for the kernel" if state == "D" else ""
    return DaemonState(
        f"its process {pid} holds the socket, but does not answer{waits}",
        f"it may hang: {_LOG}; restart it if it stays so: packets are forwarded meanwhile",
    )


def _listener(socket_path: str) -> int:
    """Return the pid of the process that listens there.

    0 if it cannot be known: its queue is full, or it is in another pid namespace.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(0)
        try:
            asking.connect(socket_path)
            given = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return 0
    pid: int = struct.unpack("3i", given)[0]
    return pid


def _daemons_for(socket_path: str) -> Iterator[int]:
    """Yield the pids of `xdplb up` commands that are told to listen there."""
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            words = _command_line(int(entry.name))
            place = next((i for i, word in enumerate(words[:4]) if Path(word).name == "xdplb"), None)
            if place is not None and "up" in words[place + 1 :] and f"unix:{socket_path}" in _places(words):
                yield int(entry.name)


def _places(words: list[str]) -> list[str]:
    """Return where a command line says that the API is served."""
    given = [word.removeprefix("--listen=") for word in words if word.startswith("--listen=")]
    given += [value for word, value in pairwise(words) if word == "--listen"]
    return given or [_USUAL_PLACE]


def _command_line(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return []


def _is_starting(pid: int) -> bool:
    """Return whether the daemon has not begun to serve.

    Until then it has no other threads (`daemon/run.py`), but for one that shows the progress on a terminal.
    """
    return len(_tasks(pid)) <= _THREADS_OF_START


def _compiles(pid: int) -> bool:
    """Return whether a child of the process is a compiler. Children are listed by thread: proc_tid_children(5)."""
    for task in _tasks(pid):
        with suppress(OSError):
            for child in (task / "children").read_text(encoding="ascii").split():
                if _COMPILER in _command_line(int(child)):
                    return True
    return False


def _cpu_use(pid: int) -> tuple[float, bool]:
    """Return how much of a CPU the process uses now, and whether it would use more on a less busy host."""
    began, before, runnable = time.monotonic(), _cpu_seconds(pid), _runnable(pid)
    time.sleep(_SAMPLE_SECONDS)
    share = (_cpu_seconds(pid) - before) / (time.monotonic() - began)
    return share, bool(runnable & _runnable(pid))


def _cpu_seconds(pid: int) -> float:
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _runnable(pid: int) -> set[str]:
    """Return the threads that run, or would if there were a CPU for them."""
    found = set()
    for task in _tasks(pid):
        with suppress(OSError):
            if _parts(task / "stat")[0] == "R":
                found.add(task.name)
    return found


def _tasks(pid: int) -> list[Path]:
    return list((_PROC / str(pid) / "task").iterdir())


def _stat(pid: int) -> list[str]:
    return _parts(_PROC / str(pid) / "stat")


def _parts(stat: Path) -> list[str]:
    """Return what the kernel says of a process or a thread from its state on: proc_pid_stat(5)."""
    return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
