"""Listening for ICMP errors about packets that xdplb has sent into a tunnel.

They are sent to the outer header's source, so XDP passes them to the host. A packet socket for each IP version reads
them there: also where the outer source is not an address of this host, where a firewall drops them, and with VLAN tags.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from xdplb.model.errors import PlatformError

from .icmp_filter import attach_filter
from .icmp_message import IcmpError, read_error

__all__ = ["IcmpErrorSource", "IcmpErrors", "OnError"]

OnError = Callable[[IcmpError | None], None]
"""Called in the event loop with each error; with None for a message that is broken or forged beyond reading."""

_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_LONGEST = 65535
_ROOM_BYTES = 256 << 10  # what waits to be read: hundreds of messages; the kernel drops what comes on top
_BATCH = 64
_PAUSE_SECONDS = 0.1  # after a full batch, so that a flood takes little of a core: 640 messages a second are read


class IcmpErrorSource(Protocol):
    """What hears of ICMP errors."""

    async def start(self, on_error: OnError) -> None:
        """Start listening. Raises PlatformError if the kernel does not allow it."""
        ...

    async def stop(self) -> None:
        """Stop listening; `on_error` is not called after this returns."""
        ...


class IcmpErrors:
    """The IcmpErrorSource that hears what reaches the network namespace of the thread that calls `start`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._on_error: OnError | None = None

    async def start(self, on_error: OnError) -> None:
        """Open the sockets and start listening. Raises PlatformError if the kernel does not allow it."""
        self._on_error = on_error
        try:
            self._sockets = [_open(version) for version in _ETHERTYPES]
        except OSError as error:
            raise PlatformError(
                f"cannot open a packet socket: {error.strerror}", hint="it needs CAP_NET_RAW"
            ) from error
        for each in self._sockets:
            self._listen(each)

    async def stop(self) -> None:
        """Stop listening and close the sockets."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            asyncio.get_running_loop().remove_reader(each)
            each.close()

    def _listen(self, to: socket.socket) -> None:
        if to in self._sockets:
            asyncio.get_running_loop().add_reader(to, self._read, to)

    def _read(self, readable: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                packet = readable.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError:  # a NIC went down: told once, and of no use here
                continue
            if self._on_error is not None:
                self._on_error(read_error(packet))
        loop = asyncio.get_running_loop()
        loop.remove_reader(readable)
        loop.call_later(_PAUSE_SECONDS, self._listen, readable)


def _open(version: int) -> socket.socket:
    """Return a packet socket that gets what the filter keeps, from all NICs."""
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    opened = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETHERTYPES[version]))
    try:
        attach_filter(opened, version)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM_BYTES)
        with contextlib.suppress(BlockingIOError):
            while opened.recv(1):  # what came before the filter was there
                pass
    except OSError:
        opened.close()
        raise
    return opened
