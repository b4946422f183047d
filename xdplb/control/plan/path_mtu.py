# SPDX-License-Identifier: Apache-2.0
"""The MTU that packets to a backend are sent with: the link's, or what a router on the way has told. Pure."""

from __future__ import annotations

from xdplb.model.vip import Forward

__all__ = ["LEAST_MTU", "least_mtu", "outer_mtu"]

_OUTER_BYTES = {4: 20, 6: 40}
_UDP_BYTES = 8

LEAST_MTU = {4: 576, 6: 1280}
"""What every path takes, by the version of the outer header: a router that says less is not followed below it.

1280 bytes is IPv6's minimum (RFC 8200, section 5). IPv4's is 68, but every host takes 576 (RFC 1122, section 3.3.3),
and less is known only from attacks (RFC 5927, section 7.2).
"""


def least_mtu(outer_version: int, forward: Forward, inner_version: int) -> int:
    """Return the least MTU that a tunnel is used with, in bytes, outer headers included.

    An IPv6 packet of 1280 bytes is sent in any case: its sender could not make it smaller.
    """
    if inner_version == 4:
        return LEAST_MTU[outer_version]
    return LEAST_MTU[6] + _OUTER_BYTES[outer_version] + (_UDP_BYTES if forward is Forward.GUE else 0)


def outer_mtu(link: int, told: int | None, least: int) -> int:
    """Return the MTU of a path: the link's, or what a router told, if that is less, but not below `least`."""
    return link if told is None else min(link, max(told, least))
