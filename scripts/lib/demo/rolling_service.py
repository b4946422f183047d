# SPDX-License-Identifier: Apache-2.0
"""A backend of `scripts/demo rolling`: `python -m demo.rolling_service NAME PORT`.

On TCP it is `demo.web`. Over UDP it keeps sessions, and answers `?` to what belongs to one that it does not know:

    PORT        `begin` begins a session of the sender's address and port, anything else belongs to one
    QUIC_PORT   as QUIC does it: a long header begins a connection, whose ID the answer has; a short one belongs to it

A session that another backend has begun is thus a failed request, as it is to a server that has just been restarted.
"""

from __future__ import annotations

import secrets
import socket
import sys
import threading
from collections.abc import Callable

from xdplb.net.lab import VIP

from .web import Handler, Server
from .world import BACKENDS

__all__ = ["ID_BYTES", "LONG_HEADER", "QUIC_PORT", "UNKNOWN", "server_id"]

QUIC_PORT = 443
UNKNOWN = b"?"
LONG_HEADER = 0x80
ID_BYTES = 8
SERVER_ID_BYTES = 2

Sender = tuple[str, int]
Answer = Callable[[bytes, Sender], bytes]


def server_id(name: str) -> bytes:
    """Return what the QUIC connection IDs of a backend have in them."""
    return (list(BACKENDS).index(name) + 1).to_bytes(SERVER_ID_BYTES, "big")


def sessions(name: str) -> Answer:
    """Return what answers datagrams of plain UDP."""
    known: set[Sender] = set()

    def answer(said: bytes, sender: Sender) -> bytes:
        if said == b"begin":
            known.add(sender)
        return name.encode() if sender in known else UNKNOWN

    return answer


def connections(name: str) -> Answer:
    """Return what answers datagrams with QUIC headers (RFC 9000, section 17)."""
    known: set[bytes] = set()

    def answer(said: bytes, sender: Sender) -> bytes:
        del sender  # it may change at any time
        if said[0] & LONG_HEADER:
            # The first byte: config_id 0 in the upper 3 bits, and 5 random bits.
            made = (
                bytes([secrets.randbelow(32)]) + server_id(name) + secrets.token_bytes(ID_BYTES - 1 - SERVER_ID_BYTES)
            )
            known.add(made)
            return made + name.encode()
        return name.encode() if said[1 : 1 + ID_BYTES] in known else UNKNOWN

    return answer


def serve(port: int, answer: Answer) -> None:
    """Answer datagrams to the VIP forever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering:
        answering.bind((str(VIP), port))
        while True:
            said, sender = answering.recvfrom(2048)
            answering.sendto(answer(said, sender), sender)


def main() -> None:
    """Serve until killed."""
    _, Handler.name, port = sys.argv
    for at, answer in ((int(port), sessions(Handler.name)), (QUIC_PORT, connections(Handler.name))):
        threading.Thread(target=serve, args=(at, answer), daemon=True).start()
    Server(("", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
