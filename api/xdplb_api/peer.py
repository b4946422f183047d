# SPDX-License-Identifier: Apache-2.0
"""The peer of a connection: who asks, as the kernel and TLS know it."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import struct
from collections.abc import MutableMapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from xdplb.control.events import Actor, ActorKind

__all__ = [
    "PeerProtocol",
    "actor_of",
    "client_name",
    "groups_of",
    "host_of",
    "peer_in",
    "peer_of",
    "peer_process",
    "with_peer",
]

_STATE_KEY = "peer"
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_SO_PEERGROUPS = 59  # asm-generic/socket.h; Python has no name for it
_MOST_BYTES = 1024  # of what Python's getsockopt takes
_MOST_GROUPS = 65536  # NGROUPS_MAX
_UNKNOWN = Actor(ActorKind.TCP)
_PASSWD = Path("/etc/passwd")


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with the peer in the state of each request."""

    peer = _UNKNOWN
    client_name = ""
    """The client, in the words of `client_name`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the peer, which was looked at when the connection was accepted."""
        super().connection_made(transport)
        self.client_name = client_name(self.peer)
        self.app_state = {**self.app_state, _STATE_KEY: self.peer}


def peer_in(scope: Scope) -> Actor:
    """Return who sent a request, as far as it is known yet."""
    state: dict[str, Any] = scope.get("state", {})
    actor: Actor = state.get(_STATE_KEY, _UNKNOWN)
    return actor


def with_peer(scope: Scope, peer: Actor) -> MutableMapping[str, Any]:
    """Return the same request as sent by `peer`."""
    return {**scope, "state": {**scope.get("state", {}), _STATE_KEY: peer}}


def actor_of(request: Request) -> Actor:
    """Return who sent a request."""
    return peer_in(request.scope)


def peer_process(connection: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process at the other end of a Unix socket, as the kernel knows them."""
    pid, uid, _ = _credentials(connection)
    return pid, uid


def groups_of(connection: socket.socket) -> frozenset[int]:
    """Return all groups of the process at the other end of a Unix socket.

    They are those that it had when it connected, as the kernel noted them. /proc would have those of whatever process
    has its pid by now.
    """
    _, _, gid = _credentials(connection)
    try:
        more = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        more = _many_groups(connection)
    return frozenset((gid, *(number for (number,) in struct.iter_unpack("I", more))))


def _many_groups(connection: socket.socket) -> bytes:
    """Return the groups of a process that is in more of them than Python's getsockopt has room for."""
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(4 * _MOST_GROUPS)
    size = ctypes.c_uint(len(room))
    if libc.getsockopt(connection.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, room, ctypes.byref(size)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return room.raw[: size.value]


def client_name(peer: Actor) -> str:
    """Return the same for all connections of one client: its process on a Unix socket, its host on TCP."""
    return str(peer.pid) if peer.pid is not None else host_of(peer)


def host_of(peer: Actor) -> str:
    """Return the address of a peer on TCP, for others an empty text."""
    return (peer.peer or "").rpartition(":")[0].strip("[]")


def peer_of(connection: socket.socket) -> Actor:
    """Return the peer: on a Unix socket the process, on TCP the address. It has no role yet."""
    if connection.family == socket.AF_UNIX:
        pid, uid = peer_process(connection)
        return Actor(ActorKind.UNIX, uid=uid, pid=pid, user=_user(uid))
    try:
        host, port = connection.getpeername()[:2]
    except OSError:  # the client has reset the connection already
        return _UNKNOWN
    host = _plain(host)
    return Actor(ActorKind.TCP, peer=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _plain(host: str) -> str:
    """Return an address, an IPv4 one also if it came to an IPv6 socket."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return host if mapped is None else str(mapped)


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid, gid


def _user(uid: int) -> str | None:
    """Return the name of a user of this host, None if /etc/passwd has none: a directory service may take seconds."""
    try:
        return _users(_PASSWD.stat().st_mtime_ns).get(uid)
    except OSError:
        return None


@lru_cache(maxsize=1)
def _users(_changed: int) -> dict[int, str]:
    """Return the names of users by id, read again only if the file was changed."""
    users: dict[int, str] = {}
    for line in _PASSWD.read_text("utf-8", "replace").splitlines():
        name, *rest = line.split(":")
        if len(rest) > 1 and rest[1].isascii() and rest[1].isdigit():
            users.setdefault(int(rest[1]), name)
    return users
