"""The peer of a connection: the actor that a change is logged with."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from xdplb.control.events import Actor, ActorKind

__all__ = ["PeerProtocol", "actor_of", "client_name", "peer_of", "peer_process"]

_STATE_KEY = "peer"
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_UNKNOWN = Actor(ActorKind.TCP)


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with the peer in the state of each request."""

    client_name = ""
    """The client, in the words of `client_name`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the peer at once: later its pid may belong to another process."""
        super().connection_made(transport)
        peer = peer_of(transport.get_extra_info("socket"))
        self.client_name = client_name(peer)
        self.app_state = {**self.app_state, _STATE_KEY: peer}


def actor_of(request: Request) -> Actor:
    """Return who sent a request."""
    state: dict[str, Any] = request.scope.get("state", {})
    actor: Actor = state.get(_STATE_KEY, _UNKNOWN)
    return actor


def peer_process(connection: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process at the other end of a Unix socket, as the kernel knows them."""
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid


def client_name(peer: Actor) -> str:
    """Return the same for all connections of one client: its process on a Unix socket, its host on TCP."""
    return str(peer.pid) if peer.pid is not None else (peer.peer or "").rpartition(":")[0]


def peer_of(connection: socket.socket) -> Actor:
    """Return the peer: on a Unix socket the process, on TCP the address."""
    if connection.family == socket.AF_UNIX:
        pid, uid = peer_process(connection)
        return Actor(ActorKind.UNIX, uid=uid, pid=pid)
    try:
        host, port = connection.getpeername()[:2]
    except OSError:  # the client has reset the connection already
        return _UNKNOWN
    return Actor(ActorKind.TCP, peer=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
