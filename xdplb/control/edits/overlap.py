"""Conflicts of VIPs: with another one, with the address of a backend, with the host's own connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xdplb.control.edits.own_ports import check_own_ports
from xdplb.control.state.desired import Desired
from xdplb.model.address import IPAddress
from xdplb.model.errors import ConflictError, InvalidError
from xdplb.model.host import Host
from xdplb.model.vip import VipKey

__all__ = ["check_new_vip", "check_no_vips"]


def check_new_vip(desired: Desired, key: VipKey, host: Host) -> None:
    """Refuse a VIP that overlaps one of equal rank, has the address of a backend, or takes ports of the host's own."""
    for other in desired.vips:
        if _is_ambiguous(key, other):
            raise ConflictError.field(
                "/port" if key.ports != other.ports else "/protocol",
                f"VIP {key} and VIP {other} match the same packets, and neither is more specific",
                hint="when VIPs overlap, one must have a longer prefix or, with the same prefix, fewer ports",
            )
    addresses = _Addresses([key])
    for vip, other_backend in desired.backends():
        if other_backend.backend.address in addresses:
            raise InvalidError.field(
                "/address",
                f"{other_backend.backend.address} is a backend of VIP {vip.vip.key}",
                hint="packets to it would loop: a VIP needs its own address",
            )
    check_own_ports(key, host)


def check_no_vips(desired: Desired, own: VipKey, pointers: Mapping[IPAddress, str]) -> None:
    """Refuse backends of VIP `own` that have the address of a VIP; `pointers` maps addresses to JSON pointers."""
    addresses = _Addresses(desired.vips)
    for address, pointer in pointers.items():
        if address in addresses:
            whose = "the VIP itself" if address in _Addresses([own]) else "the address of a VIP"
            raise InvalidError.field(
                pointer,
                f"backend {address} is {whose}",
                hint="packets to it would loop: use the backend's own address",
            )


def _is_ambiguous(one: VipKey, other: VipKey) -> bool:
    """Return whether some packet matches both, and neither has a longer prefix or fewer ports."""
    return (
        one != other
        and one.network == other.network
        and len(one.ports) == len(other.ports)
        and bool(set(one.protocol.numbers) & set(other.protocol.numbers))
        and one.ports[0] <= other.ports[-1]
        and other.ports[0] <= one.ports[-1]
    )


class _Addresses:
    """The addresses of VIPs, grouped by prefix length: there may be thousands of backends to look up."""

    def __init__(self, keys: Iterable[VipKey]) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        for key in keys:
            shift = key.address.max_prefixlen - (key.prefix_length or 0)
            self._prefixes.setdefault((key.address.version, shift), set()).add(int(key.address) >> shift)

    def __contains__(self, address: IPAddress) -> bool:
        return any(
            version == address.version and int(address) >> shift in prefixes
            for (version, shift), prefixes in self._prefixes.items()
        )
