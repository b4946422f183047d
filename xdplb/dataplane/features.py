"""What the packet path is compiled for: code that no VIP or backend needs is not in the program at all."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

__all__ = ["Feature", "Features", "feature_bits", "feature_defines", "features_of_bits"]


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


Features = frozenset[Feature]


def feature_defines(features: Iterable[Feature]) -> dict[str, str]:
    """Return the macros that compile these in."""
    return {f"WITH_{feature.name}": "1" for feature in sorted(features)}


def feature_bits(features: Iterable[Feature]) -> int:
    """Return the features as a number, a bit each in the order of Feature: as `meta` keeps them."""
    order = list(Feature)
    return sum(1 << order.index(feature) for feature in set(features))


def features_of_bits(bits: int) -> Features:
    """Return the features in a number that `feature_bits` made."""
    return frozenset(feature for position, feature in enumerate(Feature) if bits >> position & 1)
