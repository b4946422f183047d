# SPDX-License-Identifier: Apache-2.0
"""Rules of NAT: a reply is told by its source alone, so one address, port and protocol belongs to one VIP. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from xdplb.control.state.desired import Desired, DesiredVip
from xdplb.control.state.differing import differing
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.errors import ConflictError, InvalidError
from xdplb.model.key import LAST_PORT
from xdplb.model.nat import MOST_NAT_PORTS, served_ports
from xdplb.model.vip import Forward

__all__ = ["check_served_ports", "served_by_two", "serving_otherwise", "unfit_nat"]


def unfit_nat(vip: DesiredVip, backend: Backend, at_port: str, at_forward: str) -> Iterator[InvalidError]:
    """Yield what is wrong with a backend in a VIP as far as NAT is concerned.

    `at_port` points to the backend's port, or to what has made it unfit, and `at_forward` to what says that it is
    reached by NAT.
    """
    key = vip.vip.key
    if vip.forward_of(backend) is not Forward.NAT:
        if backend.port is not None:
            yield InvalidError.field(
                at_port,
                f"backend {backend.address} has the port {backend.port}, but is reached by {vip.forward_of(backend)}",
                hint=f"omit port, or use forward nat: {vip.forward_of(backend)} leaves the client's packet as it is",
            )
        return
    if backend.address.version != key.address.version:
        yield InvalidError.field(
            at_forward,
            f"backend {backend.address} cannot be reached by nat: VIP {key} is IPv{key.address.version}",
            hint="use ipip or gue, which work between families, or a backend of the VIP's family",
        )
    if not key.is_one_address:
        yield InvalidError.field(
            at_forward,
            f"VIP {key} has many addresses, and a reply does not tell which of them its client has asked",
            hint="use dr, ipip or gue, or a VIP for each address",
        )
    yield from _unfit_ports(vip, backend, at_port, at_forward)


def _unfit_ports(vip: DesiredVip, backend: Backend, at_port: str, at_forward: str) -> Iterator[InvalidError]:
    key = vip.vip.key
    if key.port == 0:
        if backend.port is not None:
            yield InvalidError.field(
                at_port,
                f"VIP {key} is for all ports, so backend {backend.address} cannot have a port of its own",
                hint="omit port: each connection goes to the port that its client has asked for",
            )
        return
    if len(key.ports) > MOST_NAT_PORTS:
        yield InvalidError.field(
            at_forward,
            f"VIP {key} has {len(key.ports)} ports, and nat takes at most {MOST_NAT_PORTS}, or all",
            hint="use a smaller range, or port 0 for all ports, or dr, ipip or gue",
        )
    if backend.port is not None and backend.port + len(key.ports) - 1 > LAST_PORT:
        yield InvalidError.field(
            at_port,
            f"VIP {key} has {len(key.ports)} ports: from {backend.port} on there are fewer",
            hint=f"give a port of at most {LAST_PORT - len(key.ports) + 1}",
        )


def serving_otherwise(old: DesiredVip | None, new: DesiredVip) -> Collection[IPAddress]:
    """Return the backends of a VIP that are new, or serve by another port or in another way than before."""
    if old is None or old.vip.forward is not new.vip.forward:
        return new.backends
    changed = differing(old.backends, new.backends)
    pairs = [(address, old.backends[address].backend, new.backends[address].backend) for address in changed.changed]
    return (
        *changed.new,
        *(address for address, one, other in pairs if (one.port, one.forward) != (other.port, other.forward)),
    )


def check_served_ports(
    desired: Desired,
    vip: DesiredVip,
    changed: Collection[IPAddress],
    pointers: Mapping[IPAddress, str] = MappingProxyType({}),
    elsewhere: str = "/port",
) -> None:
    """Raise ConflictError if one of these NAT backends of a VIP serves another VIP with the same port.

    `pointers` are those of backends, and `elsewhere` is what the error points to for others.
    """
    for error in served_by_two(desired, vip, changed, pointers, elsewhere):
        raise error


def served_by_two(
    desired: Desired,
    vip: DesiredVip,
    changed: Collection[IPAddress],
    pointers: Mapping[IPAddress, str] = MappingProxyType({}),
    elsewhere: str = "/port",
) -> Iterator[ConflictError]:
    """Yield an error for each of these NAT backends of a VIP that serves another VIP with the same port."""
    shared = [
        address
        for address in changed
        if desired.places.backends.get(address, 0) > 1 and vip.forward_of(vip.backends[address].backend) is Forward.NAT
    ]
    if not shared:
        return
    others = [each for each in desired.vips.values() if each.vip.key != vip.vip.key]
    for address in shared:
        mine = vip.backends[address].backend
        for other in others:
            present = other.backends.get(address)
            if present is None or other.forward_of(present.backend) is not Forward.NAT:
                continue
            if ports := _both(vip, mine, other, present.backend):
                yield ConflictError.field(
                    f"{pointers[address]}/port" if address in pointers else elsewhere,
                    f"backend {address} serves VIP {other.vip.key} with port {ports[0]} already:"
                    f" a reply from there would not tell which VIP it is of",
                    hint="give it another port, or another address of the same host",
                )


def _both(vip: DesiredVip, mine: Backend, other: DesiredVip, theirs: Backend) -> range:
    """Return the ports by which a backend would serve both VIPs."""
    one, two = served_ports(vip.vip.key, mine), served_ports(other.vip.key, theirs)
    if not set(vip.vip.key.protocol.numbers) & set(other.vip.key.protocol.numbers):
        return range(0)
    return range(max(one[0], two[0]), min(one[-1], two[-1]) + 1)
