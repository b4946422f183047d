# SPDX-License-Identifier: Apache-2.0
"""The networks that a VIP's NAT backends answer from their own addresses, by way of the balancer."""

from __future__ import annotations

from collections.abc import Iterable

from .address import IPNetwork
from .errors import InvalidError
from .key import VipKey

__all__ = ["MOST_NAT_DIRECT", "checked_nat_direct"]

MOST_NAT_DIRECT = 8
"""The most networks of a VIP that its NAT backends answer as they are: each is an entry for each backend."""


def checked_nat_direct(key: VipKey, networks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return networks as a VIP has them, in order and each once. InvalidError if it cannot have them."""
    found = tuple(sorted(set(networks), key=lambda each: (each.version, each)))
    if len(found) > MOST_NAT_DIRECT:
        raise InvalidError.field(
            "/nat_direct",
            f"nat_direct has {len(found)} networks",
            hint=f"give at most {MOST_NAT_DIRECT}: one may hold several of them",
        )
    for network in found:
        if network.version != key.address.version:
            raise InvalidError.field(
                "/nat_direct",
                f"{network} is IPv{network.version}, and VIP {key} is IPv{key.address.version}",
                hint="give networks of the VIP's family: its NAT backends have no other addresses",
            )
    return found
