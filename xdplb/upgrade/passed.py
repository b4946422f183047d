# SPDX-License-Identifier: Apache-2.0
"""Frames that come in now and that XDP leaves to the host, from a packet socket.

A packet socket sees only what XDP passes. What it sends on, drops or answers cannot be seen from outside without
another program on the NIC.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from xdplb.upgrade.frames import Sample

__all__ = ["Passed"]

_ETH_P_ALL = 0x0003
_PACKET_AUXDATA = 8
_SOL_PACKET = 263
_VLAN_VALID = 1 << 4  # TP_STATUS_VLAN_VALID in the first word of struct tpacket_auxdata
_LONGEST = 1514


class Passed:
    """Collects them as long as the block runs. Nothing is collected if the host does not allow it."""

    def __init__(self, interfaces: Sequence[str]) -> None:
        self._interfaces = interfaces
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        try:
            for interface in self._interfaces:
                made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
                self._sockets.append(made)
                made.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
                made.bind((interface, _ETH_P_ALL))
        except OSError:  # the NIC is gone, or this process may not: there are other samples
            self._close()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def take(self, count: int) -> list[Sample]:
        """Return up to `count` frames that have come so far, without those that the host or the NIC has changed."""
        found: list[Sample] = []
        for each in self._sockets:
            for _ in range(count):
                try:
                    frame, extra, _, sender = each.recvmsg(_LONGEST + 1, socket.CMSG_SPACE(32))
                except OSError:
                    break
                is_tagged = any(int.from_bytes(data[:4], "little") & _VLAN_VALID for _, _, data in extra)
                if sender[2] != socket.PACKET_OUTGOING and not is_tagged and 14 < len(frame) <= _LONGEST:
                    found.append(Sample(frame, f"a frame that XDP passed on {sender[0]} ({len(frame)} bytes)"))
        return found[:count]

    def _close(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets.clear()
