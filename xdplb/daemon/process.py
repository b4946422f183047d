# SPDX-License-Identifier: Apache-2.0
"""Processes as the kernel knows them: who holds a lock, and whether a pid still is the process that it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "holder_of_lock"]

_PROC = Path("/proc")
_STARTED = 22 - 3
"""The place of the start time in /proc/PID/stat, behind the name of the program, which may have spaces (proc(5))."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process. Its pid may be another's later; with `started`, in clock ticks since the boot, it is only its own."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has this pid now. Raises ProcessLookupError."""
        return cls(pid, int(_told(pid, "stat").rpartition(")")[2].split()[_STARTED]))

    @property
    def user(self) -> int:
        """The user that it runs as (the effective id). Raises ProcessLookupError."""
        # Not the owner of /proc/PID: that is root if a process has asked not to be traced.
        return int(next(line for line in _told(self.pid, "status").splitlines() if line.startswith("Uid:")).split()[2])

    @property
    def name(self) -> str:
        """The name of its program, "" if it has ended."""
        try:
            return _told(self.pid, "comm").strip()
        except ProcessLookupError:
            return ""

    def open(self) -> int:
        """Return a pidfd of it. Raises ProcessLookupError if it has ended, even if another has its pid now."""
        descriptor = os.pidfd_open(self.pid)
        try:
            if Process.of(self.pid) != self:
                raise ProcessLookupError(self.pid)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _told(pid: int, file: str) -> str:
    """Return what the kernel says of the process in /proc/PID/`file`. Raises ProcessLookupError."""
    try:
        return (_PROC / str(pid) / file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise ProcessLookupError(pid) from None


def holder_of_lock(file: int, likely: int | None = None) -> Process | None:
    """Return the process that has this open file locked with flock for itself, None if none in sight has.

    The kernel is asked, and not the file. `likely` is the pid to look at first.
    """
    found = os.fstat(file)
    name = Path(f"/proc/self/fd/{file}").readlink().name.removesuffix(" (deleted)")
    for pid in _pids(likely):
        with suppress(OSError):  # it has ended, or may not be looked at
            process = Process.of(pid)
            if _has_locked(pid, name, found) and Process.of(pid) == process:
                return process
    return None


def _pids(first: int | None) -> Iterator[int]:
    if first is not None:
        yield first
    yield from (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())


def _has_locked(pid: int, name: str, file: os.stat_result) -> bool:
    """Return whether a descriptor of the process holds the lock. Only files of this name are looked at."""
    for entry in (_PROC / str(pid) / "fd").iterdir():
        with suppress(FileNotFoundError):
            if name in entry.readlink().name and os.path.samestat(entry.stat(), file):
                told = (_PROC / str(pid) / "fdinfo" / entry.name).read_text(encoding="ascii")
                if any(
                    line.startswith("lock:") and " FLOCK " in line and " WRITE " in line for line in told.split("\n")
                ):
                    return True
    return False
