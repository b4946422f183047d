# SPDX-License-Identifier: Apache-2.0
"""Which share of a VIP's connections is sampled: all of few, and of many no more than what is enough to judge by.

What is bounded is both new connections, since each takes a place, and packets, since each of a sampled connection costs
some ten nanoseconds.
"""

from __future__ import annotations

__all__ = ["ALL", "share_of"]

ALL = (1 << 32) - 1
"""The share of all, as the maps have it."""

NEW_A_SECOND = 1000.0
"""Sampled connections of one VIP."""

NEW_IN_ALL = 4000.0
PACKETS_IN_ALL = 400_000.0

LEAST_NEW = 20.0
"""Of each VIP, however many there are."""


def share_of(new_flows: float, packets: float, vips: int, held: int) -> int:
    """Return the share of a VIP's connections to sample, as the maps have it, by its rates a second.

    `vips` is how many VIPs are sampled, `held` the share until now. It falls at once and rises slowly.
    """
    most_new = max(LEAST_NEW, min(NEW_A_SECOND, NEW_IN_ALL / max(1, vips)))
    most_packets = PACKETS_IN_ALL / max(1, vips)
    wanted = min(1.0, most_new / max(new_flows, 1.0), most_packets / max(packets, 1.0))
    target = min(ALL, int(wanted * (1 << 32)))
    if held and target > held:
        return min(target, 2 * held)
    return target
