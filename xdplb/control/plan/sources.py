# SPDX-License-Identifier: Apache-2.0
"""Where the packets that this host sends itself leave from: never from the address of a VIP, if there is another. Pure.

The kernel picks the source of a check or a tunnel among the addresses of the host, and so it may pick one that is also
a VIP's. The VIP may then take the answers. And a backend of that VIP has the address too: it drops packets that come
from itself (martian sources), or answers itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdplb.control.edits.own_ports import without
from xdplb.control.state.desired import Desired, DesiredVip
from xdplb.model.address import IPAddress
from xdplb.model.host import NO_HOST, Host, OwnAddress
from xdplb.model.key import LAST_PORT
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import VipKey

__all__ = ["ANY_SOURCE", "NO_SOURCES", "Source", "Sources"]

_TCP, _UDP = 6, 17
_FIRST_PORT = 1024


@dataclass(frozen=True, slots=True)
class Source:
    """What to bind a connection to: None leaves the address to the kernel, no `ports` the port.

    `datagram_ports` are the same for UDP. `obstacle` says why no address is right; the connection is then not worth
    trying. `in_a_moment`: it may be gone soon. `mark` is what the packets are marked with to be sent by the traffic's
    own way, 0 for none.
    """

    address: IPAddress | None = None
    ports: tuple[range, ...] = ()
    obstacle: str = ""
    in_a_moment: bool = False
    mark: int = 0
    datagram_ports: tuple[range, ...] = ()


ANY_SOURCE = Source()
"""The kernel's own choice."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The host as of one moment, and the VIPs over some of its addresses (`over`, by address)."""

    host: Host
    over: Mapping[IPAddress, tuple[VipKey, ...]]
    _vips: Mapping[VipKey, DesiredVip] = field(compare=False)

    @classmethod
    def of(cls, host: Host, desired: Desired) -> Sources:
        """Return the sources of `host` that balances these VIPs."""
        own = dict.fromkeys(each.address for each in host.addresses)
        over = {address: tuple(desired.places.vips_of(address)) for address in own}
        return cls(host, {address: keys for address, keys in over.items() if keys}, desired.vips)

    def of_tunnel(self, destination: IPAddress, resolution: Resolution) -> Source:
        """Return the outer source of packets to a backend; with an obstacle, the address is the kernel's choice."""
        wanted = resolution.source
        if wanted is None or wanted not in self.over:
            return Source(wanted)
        near, far = self._others(destination, resolution)
        if near:
            return Source(near[0].address)
        if not self._has_too(destination, wanted):
            return Source(wanted)
        if far:
            return Source(far[0].address)
        return Source(wanted, obstacle=f"its tunnel leaves from {self._no_other(wanted)}")

    def of_check(self, destination: IPAddress, resolution: Resolution) -> Source:
        """Return what to bind a check of this backend to."""
        wanted = resolution.source
        if wanted is None or wanted not in self.over:
            return ANY_SOURCE
        near, far = self._others(destination, resolution)
        if near:
            return Source(near[0].address)
        free = () if self._has_too(destination, wanted) else self._free_ports(wanted, _TCP)
        if free:
            usual = self.host.ephemeral
            ports, datagram_ports = (() if each == usual else each for each in (free, self._free_ports(wanted, _UDP)))
            return Source(wanted, ports, datagram_ports=datagram_ports) if ports or datagram_ports else ANY_SOURCE
        if far:
            return Source(far[0].address)
        return Source(obstacle=f"checks would leave from {self._no_other(wanted)}")

    def of_version(self, version: int) -> IPAddress | None:
        """Return the address to send from to whatever has an address of this version, None if there is none."""
        usable = [
            own
            for own in self.host.addresses
            if own.address.version == version and own.is_usable and own.address not in self.over
        ]
        best = min(usable, key=lambda own: (not own.is_source, own.interface == "lo"), default=None)
        return None if best is None else best.address

    def lone(self, key: VipKey) -> IPAddress | None:
        """Return the address of this VIP that the host sends from for want of one that is no VIP's, if there is."""
        family = [own for own in self.host.addresses if own.address.version == key.address.version and own.is_usable]
        if any(own.address not in self.over for own in family):
            return None
        return next((own.address for own in family if own.is_source and key.has(own.address)), None)

    def _others(
        self, destination: IPAddress, resolution: Resolution
    ) -> tuple[Sequence[OwnAddress], Sequence[OwnAddress]]:
        """Return the addresses that are no VIP's, the best first: those on the way to the destination, and all others.

        Answers find the way to an address of the same segment or NIC. To others they may not.
        """
        hop = resolution.next_hop
        first = destination if hop is None or hop.gateway is None else hop.gateway
        nic = hop.interface if hop is not None else self._interface_of(resolution.source)
        usable = [
            own
            for own in self.host.addresses
            if own.address.version == destination.version and own.is_usable and own.address not in self.over
        ]
        usable.sort(key=lambda own: (first not in own.network, not own.is_source, own.interface == "lo"))
        near = [own for own in usable if first in own.network or own.interface == nic]
        return near, [own for own in usable if own not in near]

    def _has_too(self, backend: IPAddress, own: IPAddress) -> bool:
        """Return whether the backend has this address of the host itself, as an address of a VIP."""
        return any(backend in self._vips[key].backends for key in self.over[own])

    def _free_ports(self, own: IPAddress, protocol: int) -> tuple[range, ...]:
        """Return the ports to send from at an address that is a VIP's: the usual ones, or if there is none, any."""
        for ports in (self.host.ephemeral, (range(_FIRST_PORT, LAST_PORT + 1),)):
            free = ports
            for key in self.over[own]:
                if protocol in key.protocol.numbers:
                    free = without(free, key.ports)
            if free:
                return free
        return ()

    def _interface_of(self, address: IPAddress | None) -> str:
        return next((own.interface for own in self.host.addresses if own.address == address), "")

    def _no_other(self, own: IPAddress) -> str:
        return (
            f"{own}, which is the address of VIP {self.over[own][0]}: give this host an IPv{own.version} address that"
            " is no VIP's"
        )


NO_SOURCES = Sources.of(NO_HOST, Desired())
"""Those of a host of which nothing is known: the kernel chooses."""
