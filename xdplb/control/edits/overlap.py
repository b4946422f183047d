# SPDX-License-Identifier: Apache-2.0
"""Conflicts of VIPs: with another one, with the address of a backend, with the host's own connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xdplb.control.edits.own_ports import check_own_ports
from xdplb.control.state.desired import Desired
from xdplb.model.address import IPAddress
from xdplb.model.errors import ConflictError, InvalidError
from xdplb.model.host import Host
from xdplb.model.vip import VipKey

__all__ = ["ambiguous", "ambiguous_with", "check_new_vip", "check_no_vips", "taken_by_vips"]


def check_new_vip(desired: Desired, key: VipKey, host: Host) -> None:
    """Refuse a VIP that overlaps one of equal rank, has the address of a backend, or takes ports of the host's own."""
    for other in ambiguous_with(desired, key):
        raise ambiguous(key, other)
    if (address := desired.places.backend_of(key)) is not None:
        whose = next(vip.vip.key for vip in desired.vips.values() if address in vip.backends)
        raise InvalidError.field(
            "/address",
            f"{address} is a backend of VIP {whose}",
            hint="packets to it would loop: a VIP needs its own address",
        )
    check_own_ports(key, host)


def check_no_vips(desired: Desired, own: VipKey, pointers: Mapping[IPAddress, str]) -> None:
    """Refuse backends of VIP `own` that have the address of a VIP; `pointers` maps addresses to JSON pointers."""
    for error in taken_by_vips(desired, own, pointers):
        raise error


def ambiguous_with(desired: Desired, key: VipKey) -> Iterator[VipKey]:
    """Yield the VIPs that match packets which this one matches too, where neither of them is more specific."""
    return (other for other in desired.places.vips_on(key) if _is_ambiguous(key, other))


def ambiguous(key: VipKey, other: VipKey) -> ConflictError:
    """Return the error that neither of two VIPs is more specific."""
    return ConflictError.field(
        "/port" if key.ports != other.ports else "/protocol",
        f"VIP {key} and VIP {other} match the same packets, and neither is more specific",
        hint="when VIPs overlap, one must have a longer prefix or, with the same prefix, fewer ports",
    )


def taken_by_vips(desired: Desired, own: VipKey, pointers: Mapping[IPAddress, str]) -> Iterator[InvalidError]:
    """Yield an error for each of these backends of VIP `own` that has the address of a VIP."""
    for address, pointer in pointers.items():
        if next(desired.places.vips_of(address), None) is not None:
            whose = "the VIP itself" if own.has(address) else "the address of a VIP"
            yield InvalidError.field(
                pointer,
                f"backend {address} is {whose}",
                hint="packets to it would loop: use the backend's own address",
            )


def _is_ambiguous(one: VipKey, other: VipKey) -> bool:
    """Return whether some packet matches both, which have the same prefix, and neither has fewer ports."""
    return (
        one != other
        and len(one.ports) == len(other.ports)
        and bool(set(one.protocol.numbers) & set(other.protocol.numbers))
        and one.ports[0] <= other.ports[-1]
        and other.ports[0] <= one.ports[-1]
    )
