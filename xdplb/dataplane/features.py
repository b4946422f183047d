# SPDX-License-Identifier: Apache-2.0
"""What the packet path is compiled for: code that no VIP or backend needs is not in the program."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

__all__ = ["BITS", "Feature", "Features", "feature_bits", "feature_defines", "features_of_bits"]


class Feature(StrEnum):
    """A part of the packet path that can be left out; `WITH_<NAME>` in the C sources."""

    IPV6 = "ipv6"  # VIPs of IPv6
    OUTER_IPV6 = "outer_ipv6"  # backends of IPv6 behind a tunnel
    GUE = "gue"  # forward = gue
    VLAN = "vlan"  # tagged frames, in or out
    WILDCARD = "wildcard"  # VIPs of several ports or addresses
    SCHEDULERS = "schedulers"  # those that choose per connection
    QUIC = "quic"  # backends by QUIC connection ID
    ACCESS = "access"  # access lists
    LIMITS = "limits"  # rate limits
    CAPTURE = "capture"  # a capture is running
    PASSIVE = "passive"  # handshakes are sampled
    SECOND_CHOICE = "second_choice"  # new connections may go to another backend than the one that comes first
    SYNC = "sync"  # other balancers are told of connections
    NICS = "nics"  # packets are counted by the NIC that they came in by
    NAT = "nat"  # forward = nat
    REJECT = "reject"  # all_unhealthy = reject
    HASH = "hash"  # hash = destination-port or addresses
    NAT_DIRECT = "nat_direct"  # networks that NAT backends answer as they are
    DECAP = "decap"  # tunnels end here


Features = frozenset[Feature]

BITS = {
    Feature.IPV6: 0,
    Feature.OUTER_IPV6: 1,
    Feature.GUE: 2,
    Feature.VLAN: 3,
    Feature.WILDCARD: 4,
    Feature.SCHEDULERS: 5,
    Feature.QUIC: 6,
    Feature.ACCESS: 7,
    Feature.LIMITS: 8,
    Feature.CAPTURE: 9,
    Feature.PASSIVE: 10,
    Feature.SECOND_CHOICE: 11,
    Feature.SYNC: 12,
    Feature.NICS: 13,
    Feature.NAT: 14,
    Feature.HASH: 15,
    Feature.REJECT: 16,
    Feature.NAT_DIRECT: 17,
    Feature.DECAP: 18,
}
"""The bit of each in `meta`, permanently: one that is retired leaves a hole."""


def feature_defines(features: Iterable[Feature]) -> dict[str, str]:
    """Return the macros that compile these in."""
    return {f"WITH_{feature.name}": "1" for feature in sorted(features)}


def feature_bits(features: Iterable[Feature]) -> int:
    """Return the features as a number, a bit each: as `meta` keeps them."""
    return sum(1 << BITS[feature] for feature in set(features))


def features_of_bits(bits: int) -> Features:
    """Return the features in a number that `feature_bits` made."""
    return frozenset(feature for feature, bit in BITS.items() if bits >> bit & 1)
