"""A probe, one try of a health check: connect, and for HTTP send a GET. Never raises for what a backend does.

The reason of a failure names the address and port that the probe came from: an answer may have gone elsewhere.

It uses sockets directly instead of streams, which takes a fraction of the CPU: thousands of probes run every second.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import quote

import h11

from xdplb.control.health.ending import end_connection, reset_on_close
from xdplb.control.health.local_end import asked_from, bind
from xdplb.control.plan.sources import ANY_SOURCE, Source
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.printable import printable

__all__ = ["ProbeResult", "probe"]

_READ_BYTES = 16384
_MAX_HEAD_BYTES = 65536
_LONGEST_WORDS = 200  # of what a backend sent, in a reason
_PATH_AS_WRITTEN = "".join(map(chr, range(0x21, 0x7F)))  # only non-ASCII characters are quoted

_LEAST_PATIENCE_SECONDS = 1.0  # a short timeout is about how fast a backend answers, not about how it closes
_LATE = 0.5
"""By what fraction a probe may exceed its timeout and still count."""

_OUR_FAULT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES}
)
_HEARD = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE})
_SENTENCES = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the backend",
    errno.EPIPE: "connection reset by the backend",
    errno.EHOSTUNREACH: "no route to the backend, or it does not answer ARP or neighbour discovery",
    errno.ENETUNREACH: "no route to the backend's network",
    errno.ETIMEDOUT: "no answer to the connection attempt",
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe.

    `passed` is None if this host had no socket for it or no CPU time to read the answer: that says nothing about the
    backend. `heard`: something came back from the backend, so that packets reach it.
    """

    passed: bool | None
    reason: str
    seconds: float
    heard: bool = True


class _Try:
    """One connection to a backend, and how far it got."""

    def __init__(self, check: HealthCheck, host: str, port: int, source: Source) -> None:
        self._check, self._host, self._port, self._source = check, host, port, source
        self._sock: socket.socket | None = None
        self._http: h11.Connection | None = None
        self.connected = False

    async def run(self) -> tuple[bool, str]:
        """Connect, and for http ask; return whether it passed, and why. Raises OSError."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._sock = sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        bind(sock, self._source)
        await asyncio.get_running_loop().sock_connect(sock, (self._host, self._port))
        self.connected = True
        match self._check.type:
            case CheckType.TCP:
                return True, "connected"
            case CheckType.HTTP:
                self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
                return await self._get(sock, self._http)
            case _:
                assert_never(self._check.type)

    def asked_from(self) -> str:
        """Return where it came from, to follow the reason of its failure."""
        return asked_from(self._sock)

    async def end(self) -> None:
        """End the connection as the check says, and close the socket."""
        if self._sock is None:
            return
        if self.connected and not self._check.reset:
            await end_connection(self._sock, self._http, max(self._check.timeout_seconds, _LEAST_PATIENCE_SECONDS))
        else:
            self.cut()

    def cut(self) -> None:
        """Close the socket at once."""
        if self._sock is None:
            return
        if self._check.reset:
            reset_on_close(self._sock)
        self._sock.close()

    async def _get(self, sock: socket.socket, http: h11.Connection) -> tuple[bool, str]:
        loop = asyncio.get_running_loop()
        name = f"[{self._host}]" if ":" in self._host else self._host
        headers = [("Host", f"{name}:{self._port}"), ("User-Agent", "xdplb"), ("Accept", "*/*")]
        target = quote(self._check.path, safe=_PATH_AS_WRITTEN)
        taken = 0
        ask = http.send(h11.Request(method="GET", target=target, headers=[*headers, ("Connection", "close")]))
        await loop.sock_sendall(sock, (ask or b"") + (http.send(h11.EndOfMessage()) or b""))
        try:
            while not isinstance(event := http.next_event(), h11.Response):
                if event is h11.NEED_DATA:
                    data = await loop.sock_recv(sock, _READ_BYTES)
                    if not data:
                        return False, "connection closed without an answer"
                    http.receive_data(data)
                    taken += len(data)
                    if taken > _MAX_HEAD_BYTES:  # interim 1xx answers count too: a backend could send them forever
                        return False, f"no answer in the first {_MAX_HEAD_BYTES >> 10} KiB"
                    await asyncio.sleep(
                        0
                    )  # data that has already arrived is read without yielding, and the timeout would never fire
        except h11.RemoteProtocolError as error:
            return False, f"the answer is not HTTP: {printable(str(error), _LONGEST_WORDS)}"
        expected = self._check.expect_status
        if event.status_code in expected:
            return True, f"status {event.status_code}"
        return False, f"status {event.status_code}, expected {' or '.join(map(str, expected))}"


async def probe(check: HealthCheck, host: str, port: int, source: Source = ANY_SOURCE) -> ProbeResult:
    """Probe `port` of `host`, an IPv4 or IPv6 address, once as `check` says, within its timeout, from `source`.

    The connection is ended before this returns, or in a task if the backend takes its time.
    """
    started = time.monotonic()
    if source.obstacle:
        return ProbeResult(None, f"this host could not run the check: {source.obstacle}", 0.0)
    passed: bool | None
    trying = _Try(check, host, port, source)
    heard = False
    try:
        async with asyncio.timeout(check.timeout_seconds):
            passed, reason = await trying.run()
    except TimeoutError:
        passed, reason = _after_silence(check, time.monotonic() - started)
    except OSError as error:
        passed, reason = _of_error(error)
        heard = error.errno in _HEARD
    except BaseException:
        trying.cut()
        raise
    if passed is False:
        reason += trying.asked_from()
    result = ProbeResult(passed, reason, time.monotonic() - started, heard=heard or trying.connected)
    await trying.end()
    return result


def _after_silence(check: HealthCheck, seconds: float) -> tuple[bool | None, str]:
    """Return no result if the timeout came far too late: this process did not run, and may have missed the answer."""
    if seconds > (1 + _LATE) * check.timeout_seconds:
        return None, f"this host is too busy: it read the answer only after {seconds:.1f} s"
    return False, f"no answer in {check.timeout_seconds:g} s"


def _of_error(error: OSError) -> tuple[bool | None, str]:
    code = error.errno or 0
    words = _SENTENCES.get(code) or (os.strerror(code) if code else str(error))
    if code in _OUR_FAULT:
        return None, f"this host could not run the check: {words}"
    return False, words
