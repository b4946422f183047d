# SPDX-License-Identifier: Apache-2.0
"""The talk of agent checks: an agent on the backend sends a line of words, as HAProxy's agent-check reads it.

https://docs.haproxy.org/2.8/configuration.html#agent-check has the words: a percentage is of the backend's weight,
`up`, `down`, `stopped` and `fail` are its health, `ready`, `drain` and `maint` what shall be done with it, and what
follows `#` is why. `maxconn:` is for proxies: it is told, and not heeded.
"""

from __future__ import annotations

import re

from xdplb.control.health.probes.result import AdminWord, AgentWord, Finding, quoted
from xdplb.control.health.probes.text import bytes_of
from xdplb.model.health import HealthCheck
from xdplb.model.printable import printable

__all__ = ["Agent", "read_line"]

_LONGEST_LINE = 1024
_LONGEST_REASON = 200
_LARGEST_PERCENT = 10_000
_WORDS = re.compile(r"[\s,]+")
_PERCENT = re.compile(r"([0-9]{1,9})%")
_DOWN = ("down", "stopped", "fail", "failed")
_ADMIN = {word.value: word for word in AdminWord}


class Agent:
    """A talk that takes one line."""

    __slots__ = ("_line", "opening")

    at_once = None
    leaves_to_peer = True
    is_complete = True

    def __init__(self, check: HealthCheck) -> None:
        self.opening = bytes_of(check.send)
        self._line = b""

    @property
    def asks(self) -> str:
        """What is sent, for people."""
        return quoted(self.opening)

    def take(self, data: bytes) -> Finding | None:
        """Take a piece of the line; judge it once it is there."""
        line, end, _ = data.partition(b"\n")
        self._line += line
        if end:
            return read_line(self._line)
        if len(self._line) > _LONGEST_LINE:
            return Finding(
                passed=False, reason=f"the agent sent no line in {_LONGEST_LINE} bytes: {quoted(self._line)}"
            )
        return None

    def ended(self) -> Finding:
        """Judge what came before the agent closed: not all of them end their line."""
        return read_line(self._line)

    def silent(self, seconds: float) -> Finding:
        """Return that no line came in time."""
        return Finding(passed=False, reason=f"the agent sent no whole line in {seconds:g} s")


def read_line(line: bytes) -> Finding:
    """Return what a line of an agent says."""
    said, _, why = line.decode("utf-8", "backslashreplace").partition("#")
    percent: int | None = None
    admin: AdminWord | None = None
    health = ""
    told: list[str] = []
    for word in filter(None, _WORDS.split(said.lower())):
        if found := _PERCENT.fullmatch(word):
            percent = min(int(found[1]), _LARGEST_PERCENT)
        elif word in _ADMIN:
            admin = _ADMIN[word]
        elif word in {"up", *_DOWN}:
            health = word
        elif word.startswith("maxconn:"):
            told.append("maxconn is not heeded, since connections do not end here")
        else:
            told.append(f"{printable(word, 40)} is no word of agents")
    if percent is None and admin is None and not health:
        return Finding(passed=False, reason=f"the agent said {quoted(line)}, which has no word of agents")
    words = printable(said.strip(), _LONGEST_REASON)
    told[:0] = [printable(why.strip(), _LONGEST_REASON)] if why.strip() else []
    reason = ": ".join([f"the agent said {words}", *(["; ".join(told[:4])] if told else [])])
    return Finding(health not in _DOWN, reason, AgentWord(percent=percent, admin=admin))
