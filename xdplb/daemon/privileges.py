# SPDX-License-Identifier: Apache-2.0
"""Which capabilities this process needs, and how the daemon gives up those that it no longer does."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from xdplb.capabilities import NET_ADMIN, NET_RAW, SYS_ADMIN, Capabilities, keep_only, name_of, of_threads
from xdplb.model.errors import PlatformError

__all__ = ["KEPT", "give_up_privileges", "missing_capabilities", "privileged_threads", "require_privileges"]

_log = logging.getLogger("xdplb")

_ENDING_SECONDS = 0.5
_LOOK_SECONDS = 0.005

_NEEDED = (NET_ADMIN, SYS_ADMIN)
"""CAP_BPF and CAP_PERFMON are not enough: only CAP_SYS_ADMIN, which includes them, may open BPF objects by id."""

KEPT = frozenset({*_NEEDED, NET_RAW})
"""What a running daemon has. CAP_NET_RAW is for ARP, neighbour discovery and reading ICMP errors."""


def missing_capabilities(status: Path = Path("/proc/self/status")) -> list[str]:
    """Return the capabilities that loading and attaching XDP needs and this process lacks."""
    effective = Capabilities.of(status).effective
    return [name_of(number) for number in _NEEDED if number not in effective]


def require_privileges(doing: str) -> None:
    """Raise PlatformError if this process lacks a capability. `doing` is what needs it, as `attaching to a NIC`."""
    missing = missing_capabilities()
    if missing:
        raise PlatformError(f"{doing} needs root (it lacks {', '.join(missing)})", hint="run it with sudo")


def give_up_privileges() -> None:
    """Give up all capabilities but those of `KEPT`, for good. It is still root's process, and may use root's files.

    To be called before threads are started: those that run already, of a library, keep theirs, which is logged.
    """
    keep_only(KEPT)
    if names := privileged_threads():
        _log.warning("threads that started before the daemon gave up its privileges keep them: %s", ", ".join(names))


def privileged_threads(tasks: Path = Path("/proc/self/task")) -> list[str]:
    """Return the names of the threads that may do more than `KEPT` says, with a little time to end for those that do.

    A thread that was joined may still be listed for a moment: Python lets go of it before the kernel has ended it.
    """
    end = time.monotonic() + _ENDING_SECONDS
    while (names := _privileged_now(tasks)) and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
    return names


def _privileged_now(tasks: Path) -> list[str]:
    return [name for name, capabilities in of_threads(tasks) if capabilities.permitted - KEPT]
