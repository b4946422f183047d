# SPDX-License-Identifier: Apache-2.0
"""The capabilities of a process (capabilities(7)): what it has, and how it gives up the rest of them for good."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = [
    "KILL",
    "NET_ADMIN",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SYS_ADMIN",
    "Capabilities",
    "keep_only",
    "name_of",
    "of_threads",
]

KILL, SETGID, SETUID, NET_ADMIN, NET_RAW, SYS_ADMIN = 5, 6, 7, 12, 13, 21
_NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
"""By number: linux/capability.h."""

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 23, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Words(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a thread may do (`effective`), what it or a program that it runs can have at most, and if that is final."""

    effective: frozenset[int]
    permitted: frozenset[int]
    bounding: frozenset[int]
    ambient: frozenset[int]
    no_new_privileges: bool

    @classmethod
    def of(cls, status: Path) -> Self:
        """Read them from a file such as /proc/PID/status or /proc/PID/task/TID/status. Raises OSError."""
        lines = dict(line.partition(":")[::2] for line in status.read_text(errors="replace").splitlines())
        effective, permitted, bounding, ambient = (
            frozenset(_bits(int(lines.get(name, "0"), 16))) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")
        )
        return cls(effective, permitted, bounding, ambient, lines.get("NoNewPrivs", "0").strip() == "1")

    def names(self) -> list[str]:
        """Return the names of those that are in effect, such as CAP_NET_ADMIN."""
        return [name_of(number) for number in sorted(self.effective)]


def of_threads(tasks: Path) -> Iterator[tuple[str, Capabilities]]:
    """Yield the name and the capabilities of each thread in a folder such as /proc/PID/task. Raises OSError.

    Threads that end meanwhile are left out.
    """
    for task in tasks.iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            yield (task / "comm").read_text(errors="replace").strip(), Capabilities.of(task / "status")


def name_of(number: int) -> str:
    """Return the name of a capability; of one that is newer than this list, its number."""
    return f"CAP_{_NAMES[number] if number < len(_NAMES) else number}"


def _bits(mask: int) -> Iterator[int]:
    return (number for number in range(mask.bit_length()) if mask >> number & 1)


def keep_only(wanted: Collection[int]) -> None:
    """Give up, for this thread and all that it starts, every capability that is not `wanted`; none ever comes back.

    Threads that run already keep what they have: call it before there are any.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    number = 0
    while (bounded := _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:  # until the kernel knows no such number
        if bounded and number not in wanted:
            try:
                _prctl(_PR_CAPBSET_DROP, number)
            except PermissionError:
                break  # without CAP_SETPCAP; NO_NEW_PRIVS alone then keeps programs from getting more
        number += 1
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    had = Capabilities.of(Path("/proc/thread-self/status")).permitted
    mask = sum(1 << each for each in wanted if each in had)
    words = (_Words * 2)(*(_Words(part, part, 0) for part in (mask & 0xFFFFFFFF, mask >> 32)))
    if _libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), words):
        raise _error("capset")


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) < 0:
        raise _error(f"prctl({option}, {argument})")


def _error(what: str) -> OSError:
    number = ctypes.get_errno() or errno.EPERM
    return OSError(number, f"{what}: {os.strerror(number)}")
