# SPDX-License-Identifier: Apache-2.0
"""May it pass? The rate limits of a VIP, per source and in total.

Rates are kept by the generic cell rate algorithm (ITU-T I.371, annex A), in its form of a virtual scheduling algorithm:
a bucket is the "theoretical arrival time", at which it will be empty.
"""

from __future__ import annotations

from dataclasses import replace

from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import NO_LIMITS

from .flow_state import Bucket, SourceKey
from .journey import Journey
from .packet import Packet
from .reasons import Reason, Stop

__all__ = ["SECOND", "charge", "check_limits", "cost_of"]

SECOND = 10**9
"""In ns: how far ahead of now a bucket may be, so that an idle one takes a second's worth of packets at once."""


def check_limits(journey: Journey, packet: Packet, vip: VipEntry) -> None:
    """Charge the packet to the bucket of its source, then to that of the VIP; raise Stop if one has no room.

    The source stays charged if the VIP refuses. An ICMP error is charged to the VIP alone: it comes from any router,
    not from the client whose flow it is about.
    """
    state, effects, now = journey.state, journey.effects, journey.now
    limits = vip.limits
    if limits == NO_LIMITS:
        return
    if (limits.source_packets or limits.source_new_flows) and not packet.is_icmp_error:
        key = SourceKey.of(packet.source, vip.id)
        found = state.source_buckets.get(key, Bucket())
        bucket, passes = _charge_both(found, packet, limits.source_packets, limits.source_new_flows, now)
        effects.source_buckets[key] = bucket
        if not passes:
            raise Stop(Reason.DROP_SOURCE_RATE)
    if limits.packets or limits.new_flows:
        found = state.vip_buckets.get(vip.id, Bucket())
        bucket, passes = _charge_both(found, packet, limits.packets, limits.new_flows, now)
        effects.vip_buckets[vip.id] = bucket
        if not passes:
            raise Stop(Reason.DROP_VIP_RATE)


def charge(empty_at: int, cost: int, now: int, most: int = SECOND) -> int | None:
    """Return when the bucket will be empty once `cost` is added, None if that is too far ahead of now."""
    charged = max(empty_at, now) + cost
    return None if charged > now + most else charged


def _charge_both(bucket: Bucket, packet: Packet, packets: int, new_flows: int, now: int) -> tuple[Bucket, bool]:
    """Charge a packet, and for a SYN a new flow; neither if one of them is refused."""
    charged = bucket
    if packets:
        at = charge(bucket.packets, cost_of(packets), now)
        if at is None:
            return bucket, False
        charged = replace(charged, packets=at)
    if new_flows and packet.is_syn:
        at = charge(bucket.flows, cost_of(new_flows), now)
        if at is None:
            return bucket, False
        charged = replace(charged, flows=at)
    return charged, True


def cost_of(rate: int) -> int:
    """Return how much one of `rate` a second costs, in whole ns."""
    return max(1, round(SECOND / rate))
