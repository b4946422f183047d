# SPDX-License-Identifier: Apache-2.0
"""Listening for ICMP errors about packets that xdplb has sent into a tunnel.

They are sent to the outer header's source, so XDP passes them to the host. Packet sockets read them there: also where
the outer source is not an address of this host, where a firewall drops them, and with VLAN tags.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import NamedTuple, Protocol

from xdplb.model.errors import PlatformError

from .icmp_filter import TAG_BYTES, attach_filter
from .icmp_message import IcmpError, read_error

__all__ = ["IcmpErrorSource", "IcmpErrors", "OnError"]

OnError = Callable[[IcmpError | None], None]
"""Called in the event loop with each error; with None for a message that is broken or forged beyond reading."""

_LONGEST = 65535
_ROOM_BYTES = 256 << 10  # what waits to be read: hundreds of messages; the kernel drops what comes on top
_SPELL_SECONDS, _SPELL_MESSAGES = 0.1, 64  # no more are read in a tenth of a second, so that a flood takes little CPU


class _Heard(NamedTuple):
    """What a socket hears: an Ethernet type; of which, if it is a VLAN tag's, this version of IP behind it."""

    ethertype: int
    version: int
    tagged: bool = False


_HEARD = (
    _Heard(0x0800, 4),
    _Heard(0x86DD, 6),
    # The kernel takes one tag away, and further ones only if there are VLAN devices for them.
    _Heard(0x8100, 4, tagged=True),
    _Heard(0x8100, 6, tagged=True),
)


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
        self._sockets: dict[socket.socket, _Heard] = {}
        self._on_error: OnError | None = None
        self._spell_began, self._in_spell = 0.0, 0

    async def start(self, on_error: OnError) -> None:
        """Open the sockets and start listening. Raises PlatformError if the kernel does not allow it."""
        self._on_error = on_error
        try:
            for heard in _HEARD:
                self._sockets[_open(heard)] = heard
        except OSError as error:
            await self.stop()
            raise PlatformError(
                f"a packet socket cannot be opened: {error.strerror}", hint="it needs CAP_NET_RAW"
            ) from error
        self._listen()

    async def stop(self) -> None:
        """Stop listening and close the sockets."""
        self._pause()
        for each in self._sockets:
            each.close()
        self._sockets = {}

    def _listen(self) -> None:
        for each in self._sockets:
            asyncio.get_running_loop().add_reader(each, self._read, each)

    def _pause(self) -> None:
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)

    def _read(self, readable: socket.socket) -> None:
        while self._may_read():
            try:
                packet = readable.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError:  # a NIC went down: the kernel says so once
                continue
            if self._on_error is not None:
                self._on_error(read_error(packet[TAG_BYTES:] if self._sockets[readable].tagged else packet))

    def _may_read(self) -> bool:
        """Count one message of this spell; if there were too many, listen again when it is over."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._spell_began >= _SPELL_SECONDS:
            self._spell_began, self._in_spell = loop.time(), 0
        self._in_spell += 1
        if self._in_spell <= _SPELL_MESSAGES:
            return True
        self._pause()
        loop.call_at(self._spell_began + _SPELL_SECONDS, self._listen)
        return False


def _open(heard: _Heard) -> socket.socket:
    """Return a packet socket that gets what the filter keeps, from all NICs."""
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    opened = socket.socket(socket.AF_PACKET, kind, socket.htons(heard.ethertype))
    try:
        attach_filter(opened, heard.version, tagged=heard.tagged)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM_BYTES)
        with contextlib.suppress(BlockingIOError):
            while opened.recv(1):  # what came before the filter was there
                pass
    except OSError:
        opened.close()
        raise
    return opened
