# SPDX-License-Identifier: Apache-2.0
"""Addresses that no packet from the network comes from, and those that may not leave their link."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network

from xdplb.model.address import IPAddress

__all__ = ["is_link_local", "is_martian"]

MARTIAN = {
    4: [ip_network(prefix) for prefix in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")],
    6: [ip_network(prefix) for prefix in ("::/64", "ff00::/8")],
}
"""RFC 1122, section 3.2.1.3: this network, loopback, multicast, and class E with the limited broadcast address.

RFC 4291: ::/64 has the unspecified address, loopback (both 2.5), IPv4-mapped and IPv4-compatible addresses (2.5.5), of
which none is one host's on the wire; multicast "must not be used as source addresses in IPv6 packets" (2.7).
"""


def is_martian(source: IPAddress) -> bool:
    """Whether nothing that comes from this address is to be forwarded or answered.

    RFC 1122, section 3.2.1.3: "A host MUST silently discard an incoming datagram containing an IP source address that
    is invalid by the rules of this section"; RFC 1812, section 5.3.7, says the same to routers. 169.254.0.0/16 is not
    among them: routers whose links are numbered with it send ICMP errors from there, which path MTU discovery needs.
    """
    return any(source in prefix for prefix in MARTIAN[source.version])


def is_link_local(source: IPAddress) -> bool:
    """Whether an IPv6 source is link-local.

    RFC 4291, section 2.5.6: "Routers must not forward any packets with Link-Local source or destination addresses to
    other links."
    """
    return isinstance(source, IPv6Address) and source.is_link_local
