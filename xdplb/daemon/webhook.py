# SPDX-License-Identifier: Apache-2.0
"""A POST of an event to a webhook: how it went, in bounded time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLCertVerificationError
from urllib.parse import urlsplit

__all__ = ["Posted", "post"]

_ACCEPTED = range(200, 300)
_FOR_LATER = frozenset({408, 425, 429, *range(500, 600)})
"""Answers after which the same request may well be taken (RFC 9110)."""


@dataclass(frozen=True, slots=True)
class Posted:
    """How it went: the `error` is empty if it was taken, and `may_retry` says whether another try makes sense."""

    error: str = ""
    may_retry: bool = False


def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Posted:
    """Send `body` as JSON, and wait `seconds` at most from the connection to the answer. It follows no redirect.

    Looking up the name takes as long as the host's resolver takes.
    """
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    late = threading.Event()

    def cut() -> None:
        """End an answer that comes a byte at a time, for which each wait is short."""
        late.set()
        if (sock := connection.sock) is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, body, {**headers, "Content-Type": "application/json", "User-Agent": "xdplb"})
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            return Posted(f"no answer in {seconds:g} s", may_retry=True)
        return Posted(_in_words(error), may_retry=True)
    finally:
        timer.cancel()
        connection.close()
    if status in _ACCEPTED:
        return Posted()
    return Posted(f"it answered {status}", may_retry=status in _FOR_LATER)


def _in_words(error: Exception) -> str:
    if isinstance(error, SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be looked up: {error.strerror}"
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
