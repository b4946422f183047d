# SPDX-License-Identifier: Apache-2.0
"""A tunnel from the balancer to a backend, as an ICMP error about its packets names it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from xdplb.model.address import IPAddress
from xdplb.model.vip import Forward

__all__ = ["Tunnel", "tunnel_of"]

_IPV4_IN_IP, _UDP, _IPV6_IN_IP = 4, 17, 41


class Tunnel(NamedTuple):
    """A tunnel to a backend's address; `protocol` is what follows the outer IP header: 4, 41 or, for GUE, 17."""

    address: IPAddress
    protocol: int

    @property
    def forward(self) -> Forward:
        """How packets are forwarded that go through it: ipip or gue."""
        return Forward.GUE if self.protocol == _UDP else Forward.IPIP

    @property
    def inner_version(self) -> int | None:
        """The IP version of the packets that go through it, None for any: GUE does not say."""
        return {_IPV4_IN_IP: 4, _IPV6_IN_IP: 6}.get(self.protocol)


def tunnel_of(address: IPAddress, forward: Forward, inner_version: int) -> Tunnel | None:
    """Return the tunnel to a backend for packets of IPv`inner_version`, None for dr and nat."""
    if not forward.is_tunnel:
        return None
    if forward is Forward.GUE:
        return Tunnel(address, _UDP)
    return Tunnel(address, _IPV6_IN_IP if inner_version == 6 else _IPV4_IN_IP)
