# SPDX-License-Identifier: Apache-2.0
"""The backend that a QUIC packet names: by the connection ID that this backend gave to its client.

RFC 9000, section 5.1: "The primary function of a connection ID is to ensure that changes in addressing at lower
protocol layers (UDP, IP) do not cause packets for a QUIC connection to be delivered to the wrong endpoint." The ID
has the plaintext form of draft-ietf-quic-load-balancers: the upper 3 bits of the first byte are the config ID, the
server ID follows.
"""

from __future__ import annotations

from xdplb.dataplane.plane import VipEntry

from .config import Config
from .packet import UDP, Packet
from .parse_transport import UDP_HEADER

__all__ = ["backend_of_connection_id"]

LONG_HEADER = 0x80
SHORT_ID_AT = 1  # RFC 8999, section 5.2: right behind the first byte; only who made it knows its length
LONG_LENGTH_AT, LONG_ID_AT = 5, 6  # RFC 8999, section 5.1: behind the first byte and the version
LONGEST_SERVER_ID = 8
READ = 1 + LONGEST_SERVER_ID
"""Bytes that must be there from the ID's first on: every QUIC packet has more than that behind the ID."""


def backend_of_connection_id(config: Config, vip: VipEntry, packet: Packet) -> int | None:
    """Return the id of the usable backend that the packet's destination connection ID names, None if it names none.

    The ID in a client's first packets is one that the client made up: it names no backend, or any of them by chance.
    """
    if vip.quic is None or packet.protocol != UDP:
        return None
    connection_id = _connection_id(packet.payload[UDP_HEADER:], 1 + vip.quic.server_id_bytes)
    if connection_id is None or connection_id[0] >> 5 != vip.quic.config_id:
        return None
    server_id = connection_id[1:].ljust(LONGEST_SERVER_ID, b"\0")
    for backend in config.backends.values():
        own = backend.quic_server_id
        if own is not None and backend.vip_id == vip.id and own.ljust(LONGEST_SERVER_ID, b"\0") == server_id:
            return backend.id if config.is_usable(backend.id) else None
    return None


def _connection_id(datagram: bytes, needed: int) -> bytes | None:
    """Return the first `needed` bytes of the destination connection ID, None if it is shorter or this is not QUIC."""
    if len(datagram) < SHORT_ID_AT + READ:
        return None
    if not datagram[0] & LONG_HEADER:
        return datagram[SHORT_ID_AT : SHORT_ID_AT + needed]
    if len(datagram) < LONG_ID_AT + READ or datagram[LONG_LENGTH_AT] < needed:
        return None
    return datagram[LONG_ID_AT : LONG_ID_AT + needed]
