"""Where the packets that this host sends itself leave from: never from the address of a VIP, if there is another. Pure.

The kernel picks the source of a check or a tunnel among the addresses of the host, and so it may pick one that is also
a VIP's. The VIP may then take the answers. And a backend of that VIP has the address too: it drops packets that come
from itself (martian sources), or answers itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from xdplb.control.edits.own_ports import without
from xdplb.control.state.snapshot import BoundVip
from xdplb.model.address import IPAddress
from xdplb.model.host import NO_HOST, Host, OwnAddress
from xdplb.model.key import LAST_PORT
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import VipKey

__all__ = ["ANY_SOURCE", "NO_SOURCES", "Source", "Sources"]

_TCP = 6
_FIRST_PORT = 1024


@dataclass(frozen=True, slots=True)
class Source:
    """What to bind a connection to: None leaves the address to the kernel, no `ports` the port.

    `obstacle` says why no address is right; the connection is then not worth trying.
    """

    address: IPAddress | None = None
    ports: tuple[range, ...] = ()
    obstacle: str = ""


ANY_SOURCE = Source()
"""The kernel's own choice."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The addresses of the host, and the VIPs over some of them (`over`, by address), as of one moment."""

    addresses: tuple[OwnAddress, ...]
    over: Mapping[IPAddress, tuple[VipKey, ...]]
    _vips: Mapping[VipKey, BoundVip] = field(compare=False)
    _ephemeral: tuple[range, ...] = field(compare=False)

    @classmethod
    def of(cls, host: Host, vips: Mapping[VipKey, BoundVip]) -> Sources:
        """Return the sources of `host` that balances `vips`."""
        over: dict[IPAddress, list[VipKey]] = {}
        own = {each.address for each in host.addresses}
        for key in vips:
            if not key.is_one_address:
                for address in own:
                    if key.has(address):
                        over.setdefault(address, []).append(key)
            elif key.address in own:  # nearly every VIP: there may be thousands
                over.setdefault(key.address, []).append(key)
        return cls(host.addresses, {address: tuple(keys) for address, keys in over.items()}, vips, host.ephemeral)

    def of_tunnel(self, destination: IPAddress, resolution: Resolution) -> Source:
        """Return the outer source of packets to a backend; with an obstacle, the address is the kernel's choice."""
        wanted = resolution.source
        if wanted is None or wanted not in self.over:
            return Source(wanted)
        for own in self._others(destination, resolution):
            return Source(own.address)
        return Source(wanted, obstacle=f"its tunnel leaves from {self._no_other(wanted)}")

    def of_check(self, destination: IPAddress, resolution: Resolution) -> Source:
        """Return what to bind a check of this backend to."""
        wanted = resolution.source
        if wanted is None or wanted not in self.over:
            return ANY_SOURCE
        for own in self._others(destination, resolution):
            return Source(own.address)
        if any(destination in self._vips[key].backends for key in self.over[wanted]):
            return Source(obstacle=f"checks would leave from {self._no_other(wanted)}")
        taken = [key for key in self.over[wanted] if _TCP in key.protocol.numbers]
        if not (
            free := _free_ports(self._ephemeral, taken) or _free_ports((range(_FIRST_PORT, LAST_PORT + 1),), taken)
        ):
            return Source(
                obstacle=f"checks would leave from {wanted}, and VIP {taken[0]} takes their answers: {_remedy(wanted)}"
            )
        return Source(wanted, () if free == self._ephemeral else free)

    def _others(self, destination: IPAddress, resolution: Resolution) -> Iterator[OwnAddress]:
        """Yield the addresses to send from that are no VIP's, the one nearest to the destination first."""
        hop = resolution.next_hop
        near = destination if hop is None or hop.gateway is None else hop.gateway
        nic = hop.interface if hop is not None else self._interface_of(resolution.source)

        def distance(own: OwnAddress) -> tuple[bool, bool, bool, bool]:
            return near not in own.network, own.interface != nic, not own.is_source, own.interface == "lo"

        usable = [
            own
            for own in self.addresses
            if own.address.version == destination.version and own.is_usable and own.address not in self.over
        ]
        yield from sorted(usable, key=distance)

    def _interface_of(self, address: IPAddress | None) -> str:
        return next((own.interface for own in self.addresses if own.address == address), "")

    def _no_other(self, wanted: IPAddress) -> str:
        return f"{wanted}, which is the address of VIP {self.over[wanted][0]}: {_remedy(wanted)}"


NO_SOURCES = Sources.of(NO_HOST, {})
"""Those of a host of which nothing is known: the kernel chooses."""


def _remedy(address: IPAddress) -> str:
    return f"give this host an IPv{address.version} address that is no VIP's"


def _free_ports(ports: tuple[range, ...], taken: list[VipKey]) -> tuple[range, ...]:
    """Return these ports without those of the VIPs."""
    for key in taken:
        ports = without(ports, key.ports)
    return ports
