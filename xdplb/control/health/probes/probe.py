# SPDX-License-Identifier: Apache-2.0
"""A probe, one try of a health check: what all of them have, whatever they say. Never raises for what a backend does.

The reason of a failure names the address and port that the probe came from: an answer may have gone elsewhere.

A probe is no task and has no streams, but goes from one state to the next when its socket has news: with thousands of
probes a second, that takes a fraction of the CPU.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from abc import ABC, abstractmethod
from typing import Protocol

from xdplb.control.health.alarms import Alarm, Alarms
from xdplb.control.health.commands import Commands
from xdplb.control.health.ending import PortBudget, reset_on_close
from xdplb.control.health.local_end import asked_from, bind
from xdplb.control.health.probes.aim import Aim, Step
from xdplb.control.health.probes.result import NOT_RUN, Finding, OnResult, ProbeResult, result_of_error
from xdplb.control.health.probes.tls_contexts import Contexts
from xdplb.control.plan.sources import Source

__all__ = ["BROKEN", "READABLE", "Keeper", "Probe", "SocketProbe"]

BROKEN = select.EPOLLERR | select.EPOLLHUP
READABLE = select.EPOLLIN | select.EPOLLRDHUP | BROKEN
_NEWS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

_LATE = 0.5
"""By what fraction a probe may exceed its timeout and still count."""
_LATE_SECONDS = 0.05  # alarms are not exact enough for the shortest timeouts
_SOON_SECONDS = 0.01


class Keeper(Protocol):
    """What probes share."""

    alarms: Alarms
    ports: PortBudget
    contexts: Contexts
    commands: Commands | None

    def register(self, probe: SocketProbe, events: int) -> None:
        """Call `probe.news` whenever its socket gets some of these events. Raises OSError."""
        ...

    def again(self, probe: SocketProbe, events: int) -> None:
        """Call `probe.news` with these events soon, after what else waits."""
        ...

    def answered(self, probe: SocketProbe) -> None:
        """Take note that the probe has its result: what is left is to end its connection."""
        ...

    def closed(self, probe: SocketProbe) -> None:
        """Take note that the probe has closed its socket."""
        ...

    def broken(self, probe: Probe, error: Exception) -> None:
        """End the probe, which ran into this error that nobody thought of."""
        ...

    def read_now(self) -> None:
        """Give the probes the news that their sockets have by now."""
        ...


class Probe(ABC):
    """One try of a check. It calls `on_result` once, unless it is cut before."""

    __slots__ = ("_alarm", "_began", "_keeper", "_on_result", "aim")

    def __init__(self, aim: Aim, keeper: Keeper, on_result: OnResult) -> None:
        self.aim, self._keeper = aim, keeper
        self._on_result: OnResult | None = on_result
        self._began = keeper.alarms.now()
        self._alarm: Alarm | None = None

    @abstractmethod
    def begin(self, source: Source) -> ProbeResult | None:
        """Begin, from `source`; return the result if it is over at once, and `on_result` is not called."""

    @abstractmethod
    def cut(self) -> None:
        """End it at once, without a result if it has none yet."""

    def broke(self, error: Exception) -> None:
        """End after an unexpected error, which says nothing about the backend."""
        tell, self._on_result = self._on_result, None
        self.cut()
        if tell is not None:
            tell(ProbeResult(None, f"{NOT_RUN}: {error!r}", self._seconds(), starved=True))

    @abstractmethod
    def _silent(self, seconds: float) -> Finding:
        """Return what it means that nothing more came in the `seconds` of the timeout."""

    @property
    @abstractmethod
    def _is_connected(self) -> bool:
        """Whether something has come back."""

    def _asked_from(self) -> str:
        """Return where it came from, to follow the reason of a failure."""
        return ""

    def _leave(self) -> None:
        """End the connection after the result."""
        self.cut()

    def _seconds(self) -> float:
        return self._keeper.alarms.now() - self._began

    def _set_alarm(self, when: float | None) -> None:
        if self._alarm is not None:
            self._keeper.alarms.cancel(self._alarm)
        self._alarm = None if when is None else self._keeper.alarms.at(when, self._rings)

    def _rings(self) -> None:
        try:
            self._alarm = None
            self._time_is_over()
        except Exception as error:
            self._keeper.broken(self, error)

    def _time_is_over(self) -> None:
        """Give the result, since the alarm rang."""
        timeout = self.aim.check.timeout_seconds
        if self._seconds() > timeout + _SOON_SECONDS:
            self._keeper.read_now()  # this process did not run for a while: the answer may be there
            if self._on_result is None:
                return
        if (seconds := self._seconds()) > timeout + max(_LATE * timeout, _LATE_SECONDS):
            reason = f"this host is too busy: it read the answer only after {seconds:.1f} s"
            self._tell(ProbeResult(None, reason, seconds, heard=self._is_connected, starved=True))
        else:
            self._found(self._silent(timeout))

    def _found(self, finding: Finding) -> None:
        reason = finding.reason if finding.passed else finding.reason + self._asked_from()
        heard = finding.passed or self._is_connected
        self._tell(ProbeResult(finding.passed, reason, self._seconds(), heard=heard, said=finding.said))

    def _tell(self, result: ProbeResult) -> None:
        tell, self._on_result = self._on_result, None
        self._leave()
        if tell is not None:
            tell(result)

    def _step(self, name: str, text: str) -> None:
        """Note a step for who watches this probe. Only to be called if somebody does: the text costs time."""
        if self.aim.steps is not None:
            self.aim.steps.done.append(Step(name, self._seconds(), text))


class SocketProbe(Probe):
    """One try of a check with a socket."""

    __slots__ = ("_sock", "number")

    def __init__(self, aim: Aim, keeper: Keeper, on_result: OnResult) -> None:
        super().__init__(aim, keeper, on_result)
        self._sock: socket.socket | None = None
        self.number = -1
        """The number of its socket."""

    def begin(self, source: Source) -> ProbeResult | None:
        """Begin to connect, from `source`; return the result if it is over at once, and `on_result` is not called."""
        sock: socket.socket | None = None
        try:
            self._sock = sock = self._new_socket(socket.AF_INET6 if ":" in self.aim.host else socket.AF_INET)
            if self.aim.prepare is not None:
                self.aim.prepare(sock)
            if source.address is not None:
                bind(sock, source)
            if (code := sock.connect_ex((self.aim.host, self.aim.port))) not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            self.number = sock.fileno()
            self._keeper.register(self, _NEWS)
            self._set_alarm(self._began + self.aim.check.timeout_seconds)
        except OSError as error:
            result = result_of_error(error.errno or 0, self._seconds(), source=asked_from(sock))
            self._give_up()
            return result
        except BaseException:
            self._give_up()
            raise
        return None

    @abstractmethod
    def news(self, events: int) -> None:
        """Go on, since the socket has these events. Nothing is done if the probe is over."""

    def cut(self) -> None:
        """Close the connection at once, without a result if it has none yet."""
        if self._sock is None:
            return
        self._set_alarm(None)
        if self.aim.check.reset:
            reset_on_close(self._sock)
        self._sock.close()
        self._sock = None
        self._keeper.closed(self)

    @abstractmethod
    def _new_socket(self, family: int) -> socket.socket:
        """Return the socket to connect. Raises OSError."""

    def _asked_from(self) -> str:
        return asked_from(self._sock)

    def _give_up(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    @property
    def _socket(self) -> socket.socket:
        assert self._sock is not None
        return self._sock

    def _failed(self, code: int) -> None:
        self._tell(self._result_of(code))

    def _result_of(self, code: int) -> ProbeResult:
        """Return the result that this errno is."""
        source = self._asked_from()
        return result_of_error(code, self._seconds(), connected=self._is_connected, source=source)
