# SPDX-License-Identifier: Apache-2.0
"""The UDP sockets that a node listens to its peers with, and sends from."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

from xdplb.model.errors import ConflictError, PlatformError

from .addresses import Place
from .wire import MOST_BYTES

__all__ = ["PeerSockets", "bind_peers", "receive"]

_BUFFER_BYTES = 4 << 20
_SO_RCVBUFFORCE = 33


class PeerSockets:
    """The sockets, bound and not blocking."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.sockets = tuple(sockets)

    def send(self, datagram: bytes, to: Place) -> None:
        """Send it from a socket of its family, if there is one and the kernel takes it. Nothing is waited for."""
        family = socket.AF_INET6 if to.is_ipv6 else socket.AF_INET
        found = next((each for each in self.sockets if each.family == family), None)
        host = to.host
        if found is None and not to.is_ipv6:  # a socket that listens on :: takes IPv4, too
            found, host = next(((each, f"::ffff:{to.host}") for each in self.sockets), (None, to.host))
        if found is not None:
            with contextlib.suppress(OSError):  # no route, no room, or an ICMP error about an earlier one
                found.sendto(datagram, (host, to.port))

    def close(self) -> None:
        """Close them. May be called twice."""
        for each in self.sockets:
            each.close()

    @property
    def places(self) -> list[Place]:
        """Where they listen."""
        return [Place(*each.getsockname()[:2]) for each in self.sockets]


def receive(from_socket: socket.socket) -> tuple[bytes, Place] | None:
    """Return a datagram and where it comes from, None if none has come."""
    try:
        datagram, source = from_socket.recvfrom(MOST_BYTES + 1)
    except OSError:  # nothing there; or an ICMP error about what was sent
        return None
    return datagram, Place(source[0].removeprefix("::ffff:"), source[1])


def bind_peers(places: Sequence[Place]) -> PeerSockets:
    """Bind all of these. Raises ConflictError if another process has one, PlatformError if the kernel refuses."""
    bound: list[socket.socket] = []
    try:
        for place in places:
            made = _bound(place, is_dual=all(each.is_ipv6 for each in places))
            bound.append(made)
    except BaseException:
        PeerSockets(bound).close()
        raise
    return PeerSockets(bound)


def _bound(place: Place, *, is_dual: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if place.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)  # noqa: FBT003
        if place.is_ipv6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not is_dual or place.host != "::"))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)  # as much of it as the host allows
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        made.bind((place.host, place.port))
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"UDP {place} is in use by another process", hint="use another --peer-listen, with another port"
            ) from None
        why = "this host has no such address" if error.errno == errno.EADDRNOTAVAIL else error.strerror or str(error)
        raise PlatformError(
            f"cannot listen for peers on UDP {place}: {why}", hint="use another --peer-listen"
        ) from None
    return made
