# SPDX-License-Identifier: Apache-2.0
"""What a probe found, and the words for what went wrong on the way."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from xdplb.model import printable

__all__ = [
    "NOT_RUN",
    "AdminWord",
    "AgentWord",
    "Finding",
    "OnResult",
    "ProbeResult",
    "quoted",
    "result_of_error",
]

NOT_RUN = "this host could not run the check"
"""The reason of a probe that says nothing about the backend begins with this, and goes on with a colon."""

_LONGEST_QUOTE = 120  # characters of what a backend sent
_NO_TEXT = re.compile(
    r"(?<!\\)((?:\\\\)*)\\udc([89a-f][0-9a-f])"
)  # a byte that is not UTF-8, as repr shows its surrogate

_SHORTAGES = frozenset(
    {
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOSPC,
    }
)
"""What a host answers that has no descriptor, port or memory left."""
_OUR_FAULT = _SHORTAGES | {errno.EPERM, errno.EACCES}
_HEARD = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE})
_SENTENCES = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the backend",
    errno.EPIPE: "connection reset by the backend",
    errno.EHOSTUNREACH: "no route to the backend, or it does not answer ARP or neighbour discovery",
    errno.ENETUNREACH: "no route to the backend's network",
    errno.ETIMEDOUT: "no answer to the connection attempt",
    errno.EMFILE: "the daemon has as many files open as it may (raise LimitNOFILE= of its unit, or ulimit -n)",
    errno.ENFILE: "this host has as many files open as it may (raise the sysctl fs.file-max)",
    errno.ENOBUFS: "this host has no memory left for sockets",
    errno.ENOMEM: "this host has no memory left",
    errno.ENOSPC: "this user watches as many sockets as it may (raise the sysctl fs.epoll.max_user_watches)",
    errno.EAGAIN: "no local port is free",
    errno.EADDRINUSE: "no local port is free",
    errno.EADDRNOTAVAIL: "no local port is free, or the address to ask from is gone",
    errno.EPERM: "a rule of this host's firewall forbids the packet",
    errno.EACCES: "a rule of this host's firewall or routing forbids the packet",
}


class AdminWord(StrEnum):
    """What an agent says that shall be done with its backend."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@dataclass(frozen=True, slots=True)
class AgentWord:
    """What a check says beside passed and failed; None where it says nothing of it.

    `percent` is the share of the backend's weight that it wants. `weight` is the weight itself, as of a command's exit
    code. `admin` is what shall be done with the backend.
    """

    percent: int | None = None
    weight: int | None = None
    admin: AdminWord | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe makes of what it heard: whether that is a pass, why as a sentence, and what was said beside it.

    `passed` is None if this host could not run it: that says nothing about the backend.
    """

    passed: bool | None
    reason: str
    said: AgentWord | None = None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe.

    `passed` is None if this host could not run it: that says nothing about the backend. `starved`: it could not since
    it had no socket for it or no CPU time to read the answer. `heard`: something came back from the backend, so that
    packets reach it. `said` is what an agent or a command said beside that.
    """

    passed: bool | None
    reason: str
    seconds: float
    heard: bool = True
    starved: bool = False
    said: AgentWord | None = None


OnResult = Callable[[ProbeResult], None]
"""Called once in the event loop with what a probe found."""


def result_of_error(code: int, seconds: float, *, connected: bool = False, source: str = "") -> ProbeResult:
    """Return the result of a probe that ended with this errno. `source` is where it came from, for the reason."""
    words = _SENTENCES.get(code) or os.strerror(code)
    if code in _OUR_FAULT:
        return ProbeResult(None, f"{NOT_RUN}: {words}", seconds, heard=connected, starved=code in _SHORTAGES)
    return ProbeResult(passed=False, reason=words + source, seconds=seconds, heard=connected or code in _HEARD)


def quoted(data: bytes | bytearray) -> str:
    """Return what a backend sent, or what was expected of it, in quotes, printable and cut where it is long."""
    return _NO_TEXT.sub(r"\1\\x\2", printable.quoted(data.decode("utf-8", "surrogateescape"), _LONGEST_QUOTE))
