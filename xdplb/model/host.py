# SPDX-License-Identifier: Apache-2.0
"""What the balancer's host has itself: its addresses, and the ports of its own outgoing connections."""

from __future__ import annotations

from dataclasses import dataclass

from .address import IPAddress, IPNetwork
from .key import Protocol

__all__ = ["NO_HOST", "Host", "OwnAddress", "OwnSocket", "ports_text"]


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An address of an interface; `network` is the prefix that it was configured with.

    `is_source`: the kernel takes it as the source of connections by itself. An address that VRRP has put on the NIC as
    a /32 is none. `is_usable`: connections can be bound to it, since no other host has it.
    """

    address: IPAddress
    network: IPNetwork
    interface: str
    is_source: bool = True
    is_usable: bool = True


@dataclass(frozen=True, slots=True)
class OwnSocket:
    """A socket of the host's own: it listens at this address and port, or is connected from them to `peer`.

    An address of zeros is any address: 0.0.0.0 of IPv4, :: of both families.
    """

    protocol: Protocol
    address: IPAddress
    port: int
    peer: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """The addresses of the host, and the ports that the kernel gives to outgoing connections, as ranges in order."""

    addresses: tuple[OwnAddress, ...] = ()
    ephemeral: tuple[range, ...] = ()


NO_HOST = Host()
"""A host of which nothing is known."""


def ports_text(ports: tuple[range, ...]) -> str:
    """Return ranges of ports as people and sysctl write them: `40000,50000-50999`."""
    return ",".join(f"{one[0]}" if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in ports)
