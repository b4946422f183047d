"""A probe, one try of a health check: connect, and for HTTP send a GET. Never raises for what a backend does.

The reason of a failure names the address and port that the probe came from: an answer may have gone elsewhere.

A probe is no task and has no streams, but goes from one state to the next when its socket has news: with thousands of
probes a second, that takes a fraction of the CPU.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from xdplb.control.health.alarms import Alarm, Alarms
from xdplb.control.health.answer import Answer, request
from xdplb.control.health.ending import AT_ONCE_SECONDS, MOST_BYTES, PortBudget, patience, reset_on_close
from xdplb.control.health.local_end import asked_from, bind
from xdplb.control.plan.sources import Source
from xdplb.model.health import CheckType, HealthCheck, accepted_statuses

__all__ = ["NOT_RUN", "Aim", "Keeper", "OnResult", "Probe", "ProbeResult", "result_of_error"]

NOT_RUN = "this host could not run the check"
"""The reason of a probe that says nothing about the backend begins with this, and goes on with a colon."""

_READ_BYTES = 65536
_LATE = 0.5
"""By what fraction a probe may exceed its timeout and still count."""
_LATE_SECONDS = 0.05  # alarms are not exact enough for the shortest timeouts
_SOON_SECONDS = 0.01

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

_NEWS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_READABLE = select.EPOLLIN | select.EPOLLRDHUP | _BROKEN


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe.

    `passed` is None if this host could not run it: that says nothing about the backend. `starved`: it could not since
    it had no socket for it or no CPU time to read the answer. `heard`: something came back from the backend, so that
    packets reach it.
    """

    passed: bool | None
    reason: str
    seconds: float
    heard: bool = True
    starved: bool = False


OnResult = Callable[[ProbeResult], None]
"""Called once in the event loop with what a probe found."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What to probe, and how: `host` is an IPv4 or IPv6 address."""

    check: HealthCheck
    host: str
    port: int


class Keeper(Protocol):
    """What probes share."""

    alarms: Alarms
    ports: PortBudget

    def register(self, probe: Probe, events: int) -> None:
        """Call `probe.news` whenever its socket gets some of these events. Raises OSError."""
        ...

    def answered(self, probe: Probe) -> None:
        """Take note that the probe has its result: what is left is to end its connection."""
        ...

    def closed(self, probe: Probe) -> None:
        """Take note that the probe has closed its socket."""
        ...

    def broken(self, probe: Probe, error: Exception) -> None:
        """End the probe, which ran into this error that nobody thought of."""
        ...

    def read_now(self) -> None:
        """Give the probes the news that their sockets have by now."""
        ...


class _State(IntEnum):
    CONNECTING = 0
    ASKED = 1
    LEAVING = 2
    OVER = 3


def result_of_error(code: int, seconds: float, *, connected: bool = False, source: str = "") -> ProbeResult:
    """Return the result of a probe that ended with this errno. `source` is where it came from, for the reason."""
    words = _SENTENCES.get(code) or os.strerror(code)
    if code in _OUR_FAULT:
        return ProbeResult(None, f"{NOT_RUN}: {words}", seconds, heard=connected, starved=code in _SHORTAGES)
    return ProbeResult(passed=False, reason=words + source, seconds=seconds, heard=connected or code in _HEARD)


class Probe:
    """One connection to a backend. It calls `on_result` once, unless it is cut before."""

    __slots__ = (
        "_alarm",
        "_answer",
        "_is_left_to_server",
        "_keeper",
        "_left",
        "_on_result",
        "_said_fin",
        "_sock",
        "_started",
        "_state",
        "_unsent",
        "_until",
        "aim",
        "born",
        "number",
    )

    def __init__(self, aim: Aim, keeper: Keeper, on_result: OnResult) -> None:
        self.aim, self._keeper = aim, keeper
        self._on_result: OnResult | None = on_result
        self._started = keeper.alarms.now()
        self._until = self._started + aim.check.timeout_seconds
        self._state = _State.CONNECTING
        self._sock: socket.socket | None = None
        self._alarm: Alarm | None = None
        self._answer: Answer | None = None
        self._unsent = b""
        self._said_fin = False
        self._is_left_to_server = True
        self._left = MOST_BYTES
        self.number = -1
        """The number of its socket."""
        self.born = 0
        """For its keeper: in which round of news it began."""

    def begin(self, source: Source) -> ProbeResult | None:
        """Begin to connect, from `source`; return the result if it is over at once, and `on_result` is not called."""
        family = socket.AF_INET6 if ":" in self.aim.host else socket.AF_INET
        sock: socket.socket | None = None
        try:
            self._sock = sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            if source.address is not None:
                bind(sock, source)
            if (code := sock.connect_ex((self.aim.host, self.aim.port))) not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            self.number = sock.fileno()
            self._keeper.register(self, _NEWS)
            self._set_alarm(self._until)
        except OSError as error:
            result = result_of_error(error.errno or 0, self._seconds(), source=asked_from(sock))
            self._give_up()
            return result
        except BaseException:
            self._give_up()
            raise
        return None

    def _give_up(self) -> None:
        self._state = _State.OVER
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def news(self, events: int) -> None:
        """Go on, since the socket has these events."""
        if self._state is _State.CONNECTING:
            if events & _BROKEN and (code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                self._failed(code)
                return
            if not events & select.EPOLLOUT:
                return
            self._connected()
        elif self._unsent and events & select.EPOLLOUT:
            self._send()
        if events & _READABLE:
            self._read()

    def cut(self) -> None:
        """Close the connection at once, without a result if it has none yet."""
        if self._state is _State.OVER or self._sock is None:
            return
        self._state = _State.OVER
        self._set_alarm(None)
        if self.aim.check.reset:
            reset_on_close(self._sock)
        self._sock.close()
        self._sock = None
        self._keeper.closed(self)

    def broke(self, error: Exception) -> None:
        """End after an unexpected error, which says nothing about the backend."""
        tell, self._on_result = self._on_result, None
        self.cut()
        if tell is not None:
            tell(ProbeResult(None, f"{NOT_RUN}: {error!r}", self._seconds(), starved=True))

    @property
    def _socket(self) -> socket.socket:
        assert self._sock is not None
        return self._sock

    def _seconds(self) -> float:
        return self._keeper.alarms.now() - self._started

    def _set_alarm(self, when: float | None) -> None:
        if self._alarm is not None:
            self._keeper.alarms.cancel(self._alarm)
        self._alarm = None if when is None else self._keeper.alarms.at(when, self._rings)

    def _connected(self) -> None:
        self._state = _State.ASKED
        match self.aim.check.type:
            case CheckType.TCP:
                self._passed("connected")
            case CheckType.HTTP:
                self._answer = Answer()
                self._unsent = request(self.aim.host, self.aim.port, self.aim.check.path or "/")
                self._send()
            case kind:
                self._found(ProbeResult(None, f"{NOT_RUN}: it has no {kind} checks yet", self._seconds()))

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._broke_off(error)

    def _read(self) -> None:
        """Read what is there. What a backend may send is limited, so that this takes no more than a moment."""
        while self._sock is not None:
            try:
                data = self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._broke_off(error)
                return
            if not data:
                self._closed_by_backend()
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.take(data)
            if self._state is _State.ASKED:
                self._judge(self._answer)
        self._left -= len(data)
        if self._left < 0:
            self.cut()
        else:
            self._send_fin_if_due()

    def _judge(self, answer: Answer) -> None:
        if answer.error:
            self._not_passed(answer.error)
        elif answer.status is None:
            return
        elif answer.status in accepted_statuses(self.aim.check.expect_status or ()):
            self._passed(f"status {answer.status}")
        else:
            expected = " or ".join(map(str, self.aim.check.expect_status or ()))
            self._not_passed(f"status {answer.status}, expected {expected}")

    def _closed_by_backend(self) -> None:
        if self._state is _State.ASKED:
            self._not_passed("connection closed without an answer")
        self.cut()

    def _broke_off(self, error: OSError) -> None:
        if self._state is _State.ASKED:
            self._failed(error.errno or 0)
        self.cut()

    def _rings(self) -> None:
        try:
            self._alarm = None
            self._time_is_over()
        except Exception as error:
            self._keeper.broken(self, error)

    def _time_is_over(self) -> None:
        if self._state is _State.LEAVING:
            self._leave_further()
            return
        timeout = self.aim.check.timeout_seconds
        if self._seconds() > timeout + _SOON_SECONDS:
            self._keeper.read_now()  # this process did not run for a while: the answer may be there
            if self._on_result is None:
                return
        if (seconds := self._seconds()) > timeout + max(_LATE * timeout, _LATE_SECONDS):
            reason = f"this host is too busy: it read the answer only after {seconds:.1f} s"
            self._found(ProbeResult(None, reason, seconds, heard=self._is_connected, starved=True))
        else:
            self._not_passed(f"no answer in {timeout:g} s")

    @property
    def _is_connected(self) -> bool:
        return self._state is not _State.CONNECTING

    def _passed(self, reason: str) -> None:
        self._found(ProbeResult(passed=True, reason=reason, seconds=self._seconds()))

    def _not_passed(self, reason: str) -> None:
        reason += asked_from(self._sock)
        self._found(ProbeResult(passed=False, reason=reason, seconds=self._seconds(), heard=self._is_connected))

    def _failed(self, code: int) -> None:
        source = asked_from(self._sock)
        self._found(result_of_error(code, self._seconds(), connected=self._is_connected, source=source))

    def _found(self, result: ProbeResult) -> None:
        tell, self._on_result = self._on_result, None
        if self._is_connected and not self.aim.check.reset:
            self._leave()
        else:
            self.cut()
        if tell is not None:
            tell(result)

    def _leave(self) -> None:
        """Begin to end the connection. A server that was asked to close is first left to do so."""
        self._state = _State.LEAVING
        self._keeper.answered(self)
        now, patient = self._keeper.alarms.now(), patience(self.aim.check.timeout_seconds)
        if self._answer is None:
            self._until = now + patient
            self._is_left_to_server = False
            self._send_fin_if_due()
        else:
            self._until = now + AT_ONCE_SECONDS + patient
            self._set_alarm(now + AT_ONCE_SECONDS)

    def _leave_further(self) -> None:
        now = self._keeper.alarms.now()
        if now >= self._until:
            self.cut()
            return
        self._set_alarm(self._until)
        self._is_left_to_server = False
        self._send_fin_if_due()

    def _send_fin_if_due(self) -> None:
        """Say that nothing more will be sent, once the answer has come to its end."""
        if self._state is not _State.LEAVING or self._said_fin or self._is_left_to_server:
            return
        if self._answer is not None and not self._answer.is_complete:
            return
        self._said_fin = True
        if self._keeper.ports.take((self.aim.host, self.aim.port)):
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:  # the peer's RST has ended it
                self.cut()
        else:
            reset_on_close(self._socket)
            self.cut()
