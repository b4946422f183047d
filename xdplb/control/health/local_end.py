# SPDX-License-Identifier: Apache-2.0
"""The local end of a check's connection: the address and port that it comes from."""

from __future__ import annotations

import contextlib
import errno
import random
import re
import socket

from xdplb.control.plan.sources import Source
from xdplb.model.address import with_port

__all__ = ["asked_from", "bind", "without_source"]

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; Python 3.11 has no name for it
_TRIES = 16
_ASKED_FROM = re.compile(r" \(asked from [^()]*\)$")
_PINGS = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)


def bind(sock: socket.socket, source: Source) -> None:
    """Bind to the source; the kernel chooses what it leaves open. Raises OSError."""
    if source.address is None:
        return
    if sock.proto in _PINGS:
        sock.bind((str(source.address), 0))
        return
    free = source.ports if sock.type == socket.SOCK_STREAM else source.datagram_ports
    if not free:
        # The port is then chosen while connecting, and may be one that a connection to another backend has too.
        sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((str(source.address), 0))
        return
    # A connection in TIME_WAIT then takes its port only towards its own backend.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for tried in range(1, _TRIES + 1):
        ports = random.choice(free)  # noqa: S311 - spreading ports needs no cryptographic randomness
        try:
            sock.bind((str(source.address), random.choice(ports)))  # noqa: S311
        except OSError as error:
            if error.errno != errno.EADDRINUSE or tried == _TRIES:
                raise
        else:
            return


def asked_from(sock: socket.socket | None) -> str:
    """Return the local address and port, to follow the reason of a failure; nothing if there are none yet.

    Pings have no port: what a socket says in its place is a number of their own.
    """
    if sock is not None:
        with contextlib.suppress(OSError):
            address, port, *_ = sock.getsockname()
            if sock.proto in _PINGS:
                return f" (asked from {address})"
            if port:
                return f" (asked from {with_port(address, port)})"
    return ""


def without_source(reason: str) -> str:
    """Return a reason without the address and port that `asked_from` has put at its end."""
    return _ASKED_FROM.sub("", reason)
