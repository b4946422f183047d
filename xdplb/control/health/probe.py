"""A probe, one try of a health check: connect, and for HTTP send a GET. Never raises for what a backend does.

The reason of a failure names the address and port that the probe came from: an answer may have gone elsewhere.

It uses sockets directly instead of streams, which takes a fraction of the CPU: thousands of probes run every second.
Sockets are closed with a RST, which leaves nothing in TIME_WAIT on either side and frees the local port at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
import struct
import time
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import quote

import h11

from xdplb.control.plan.sources import ANY_SOURCE, Source
from xdplb.model.health import CheckType, HealthCheck

__all__ = ["ProbeResult", "probe"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_READ_BYTES = 16384
_MAX_HEAD_BYTES = 65536
_PATH_AS_WRITTEN = "".join(map(chr, range(0x21, 0x7F)))  # only non-ASCII characters are quoted

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; Python 3.11 has no name for it
_BIND_TRIES = 16

_LATE = 0.5
"""By what fraction a probe may exceed its timeout and still count."""

_OUR_FAULT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES}
)
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
    backend.
    """

    passed: bool | None
    reason: str
    seconds: float


async def probe(check: HealthCheck, host: str, port: int, source: Source = ANY_SOURCE) -> ProbeResult:
    """Probe `port` of `host`, an IPv4 or IPv6 address, once as `check` says, within its timeout, from `source`."""
    started = time.monotonic()
    passed: bool | None
    if source.obstacle:
        return ProbeResult(None, f"this host could not run the check: {source.obstacle}", 0.0)
    try:
        sock = _socket(host)
    except OSError as error:
        return ProbeResult(*_of_error(error), time.monotonic() - started)
    with sock:
        try:
            _bind(sock, source)
            async with asyncio.timeout(check.timeout_seconds):
                passed, reason = await _try(sock, check, host, port)
        except TimeoutError:
            passed, reason = _after_silence(check, time.monotonic() - started)
        except OSError as error:
            passed, reason = _of_error(error)
        if passed is False:
            reason += _asked_from(sock)
    return ProbeResult(passed, reason, time.monotonic() - started)


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


def _bind(sock: socket.socket, source: Source) -> None:
    """Bind to the source; the kernel chooses what it leaves open. Raises OSError."""
    if source.address is None:
        return
    if not source.ports:
        # The port is then chosen while connecting, and may be one that a connection to another backend has too.
        sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((str(source.address), 0))
        return
    for tried in range(1, _BIND_TRIES + 1):
        ports = random.choice(source.ports)  # noqa: S311 - spreading ports needs no cryptographic randomness
        try:
            sock.bind((str(source.address), random.choice(ports)))  # noqa: S311
        except OSError as error:
            if error.errno != errno.EADDRINUSE or tried == _BIND_TRIES:
                raise
        else:
            return


def _asked_from(sock: socket.socket) -> str:
    """Return the local address and port, to follow a reason; nothing if the kernel had not chosen them yet."""
    with contextlib.suppress(OSError):
        address, port, *_ = sock.getsockname()
        if port:
            return f" (asked from {f'[{address}]' if ':' in address else address}:{port})"
    return ""


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


async def _try(sock: socket.socket, check: HealthCheck, host: str, port: int) -> tuple[bool, str]:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    await asyncio.get_running_loop().sock_connect(sock, (host, port))
    match check.type:
        case CheckType.TCP:
            return True, "connected"
        case CheckType.HTTP:
            return await _get(sock, check, host, port)
        case _:
            assert_never(check.type)


async def _get(sock: socket.socket, check: HealthCheck, host: str, port: int) -> tuple[bool, str]:
    loop = asyncio.get_running_loop()
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
    name = f"[{host}]" if ":" in host else host
    headers = [("Host", f"{name}:{port}"), ("User-Agent", "xdplb"), ("Accept", "*/*"), ("Connection", "close")]
    target = quote(check.path, safe=_PATH_AS_WRITTEN)
    taken = 0
    ask = http.send(h11.Request(method="GET", target=target, headers=headers))
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
        return False, f"the answer is not HTTP: {error}"
    if event.status_code in check.expect_status:
        return True, f"status {event.status_code}"
    wanted = " or ".join(str(status) for status in check.expect_status)
    return False, f"status {event.status_code}, expected {wanted}"
