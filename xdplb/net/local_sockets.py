# SPDX-License-Identifier: Apache-2.0
"""The sockets at which this host's own services can be reached, as /proc/net lists them (proc(5))."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from xdplb.model.address import IPAddress
from xdplb.model.host import OwnSocket
from xdplb.model.key import Protocol

__all__ = ["own_sockets"]

_NET = Path("/proc/thread-self/net")
"""Those of the caller's network namespace."""

_ESTABLISHED, _CLOSE, _LISTEN = "01", "07", "0A"  # of include/net/tcp_states.h; UDP sockets without a peer are closed
_TABLES = (("tcp", Protocol.TCP), ("tcp6", Protocol.TCP), ("udp", Protocol.UDP), ("udp6", Protocol.UDP))


def own_sockets(tables: Path = _NET) -> tuple[OwnSocket, ...]:
    """Return the sockets that listen and those of open connections. Takes longer the more there are."""
    return tuple(found for name, protocol in _TABLES for found in _sockets(tables / name, protocol))


def _sockets(table: Path, protocol: Protocol) -> Iterator[OwnSocket]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:  # a kernel without IPv6
        return
    for line in lines:
        _, local, remote, state = line.split(maxsplit=4)[:4]
        if state == (_LISTEN if protocol is Protocol.TCP else _CLOSE):
            yield OwnSocket(protocol, *_end(local))
        elif state == _ESTABLISHED and protocol is Protocol.TCP:
            yield OwnSocket(protocol, *_end(local), _end(remote)[0])


def _end(text: str) -> tuple[IPAddress, int]:
    """Return the address and the port of one end. The address is in words of 32 bits, in the host's byte order."""
    address, _, port = text.partition(":")
    words = [int(address[place : place + 8], 16) for place in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(words) == 1:
        return IPv4Address(packed), int(port, 16)
    found = IPv6Address(packed)
    return found.ipv4_mapped or found, int(port, 16)
