# SPDX-License-Identifier: Apache-2.0
"""What backends run, as a script of its own: `service.py NAME PORT VIP…`.

TCP: says its name when a connection is made, then sends back what it is told. UDP: sends back what comes to a VIP, with
its name in front. Both speak IPv4 and IPv6.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from typing import cast

_BACKLOG = 4096
_SO_RCVBUFFORCE = 33
_ROOM = 64 << 20


class Echo(asyncio.Protocol):
    """A connection."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who answers."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._name)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self._transport.write(data)


class DatagramEcho(asyncio.DatagramProtocol):
    """A VIP's datagrams."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send it back."""
        self._transport.sendto(self._name + data, addr)


async def serve(name: bytes, port: int, vips: Sequence[str]) -> None:
    """Serve until the process ends."""
    loop = asyncio.get_running_loop()
    listening = socket.create_server(
        ("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True, reuse_port=False
    )
    await loop.create_server(lambda: Echo(name + b"\n"), sock=listening)
    for vip in vips:
        await loop.create_datagram_endpoint(lambda: DatagramEcho(name + b" "), sock=_datagrams(vip, port))
    await asyncio.Event().wait()


def _datagrams(vip: str, port: int) -> socket.socket:
    """Return a socket with room for what comes while this process waits for a CPU: it is no loss on the way."""
    made = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    made.bind((vip, port))
    return made


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3:]))
