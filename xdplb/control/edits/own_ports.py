# SPDX-License-Identifier: Apache-2.0
"""VIPs over the ports of the host's own outgoing connections: such a VIP takes the answers to them. Pure.

A connection that the host opens (a check, a DNS query, ssh to elsewhere) comes from one of its addresses and a port
that the kernel chooses. Its answers look like packets to a VIP that has this address and this port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xdplb.model.errors import ConflictError
from xdplb.model.host import Host, OwnAddress, ports_text
from xdplb.model.vip import VipKey

__all__ = ["OwnPorts", "check_own_ports", "own_ports", "without"]

_ENOUGH_PORTS = 4096
"""How many ports must be left to the host's own connections for it to be good advice to reserve the others."""


@dataclass(frozen=True, slots=True)
class OwnPorts:
    """A VIP over an address of the host: it takes `taken` of the `ports` that the host's own connections leave from."""

    vip: VipKey
    own: OwnAddress
    ports: tuple[range, ...]
    taken: tuple[range, ...]

    def __str__(self) -> str:
        return (
            f"VIP {self.vip} takes answers to this host's own connections: {self.own.address} is an address of"
            f" {self.own.interface}, and connections of this host leave from ports {ports_text(self.ports)}"
        )

    @property
    def remedy(self) -> str:
        """What to do about it."""
        advice = f"use an address that this host does not send from, or ports outside of {ports_text(self.ports)}"
        if sum(map(len, self.ports)) - sum(map(len, self.taken)) >= _ENOUGH_PORTS:
            advice += f", or add {ports_text(self.taken)} to net.ipv4.ip_local_reserved_ports"
        return advice


def own_ports(vips: Iterable[VipKey], host: Host) -> Iterator[OwnPorts]:
    """Yield where VIPs take ports of the host's own connections."""
    for key in vips:
        if not (taken := _common(key.ports, host.ephemeral)):
            continue
        for own in host.addresses:
            if key.has(own.address):
                yield OwnPorts(key, own, host.ephemeral, taken)


def check_own_ports(key: VipKey, host: Host) -> None:
    """Refuse a new VIP that takes answers to connections which this host opens from the VIP's address."""
    for found in own_ports([key], host):
        if found.own.is_source:
            raise ConflictError.field("/port" if key.is_one_address else "/address", str(found), hint=found.remedy)


def without(ports: tuple[range, ...], taken: range) -> tuple[range, ...]:
    """Return ranges of ports without those in `taken`."""
    parts = [
        part
        for one in ports
        for part in (range(one.start, min(one.stop, taken.start)), range(max(one.start, taken.stop), one.stop))
    ]
    return tuple(part for part in parts if part)


def _common(ports: range, ranges: tuple[range, ...]) -> tuple[range, ...]:
    both = (range(max(one.start, ports.start), min(one.stop, ports.stop)) for one in ranges)
    return tuple(part for part in both if part)
