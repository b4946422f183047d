"""May it pass? Whether the source, or everybody together, sends the VIP more than it takes.

Rates are kept by the generic cell rate algorithm (ITU-T I.371, annex A), in its form of a virtual scheduling algorithm:
a bucket is the "theoretical arrival time" at which it would be empty.
"""

from __future__ import annotations

from dataclasses import replace

from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import NO_LIMITS

from .packet import Packet
from .reasons import Reason, Stop
from .state import Bucket, Changes, SourceKey, State

__all__ = ["SECOND", "charge", "check_limits"]

SECOND = 10**9
"""In ns: how far ahead a bucket may run, so that one that was left alone takes what comes in a second at once."""


def check_limits(vip: VipEntry, state: State, packet: Packet, now: int, changes: Changes) -> None:
    """Charge the packet to its source's bucket, then to the VIP's; Stop where one has no room.

    What the source was charged stays charged when the VIP refuses. An ICMP error is charged to the VIP alone: the
    client it tells of has not sent it.
    """
    limits = vip.limits
    if limits == NO_LIMITS:
        return
    if (limits.source_packets or limits.source_new_flows) and not packet.is_icmp_error:
        key = SourceKey.of(packet.source, vip.id)
        found = state.source_buckets.get(key, Bucket())
        bucket, passes = _charge_both(found, packet, limits.source_packets, limits.source_new_flows, now)
        changes.source_buckets[key] = bucket
        if not passes:
            raise Stop(Reason.DROP_SOURCE_RATE)
    if limits.packets or limits.new_flows:
        found = state.vip_buckets.get(vip.id, Bucket())
        bucket, passes = _charge_both(found, packet, limits.packets, limits.new_flows, now)
        changes.vip_buckets[vip.id] = bucket
        if not passes:
            raise Stop(Reason.DROP_VIP_RATE)


def charge(empty_at: int, cost: int, now: int, most: int = SECOND) -> int | None:
    """Return when the bucket would be empty once `cost` is added, None where it may not run that far ahead of now."""
    charged = max(empty_at, now) + cost
    return None if charged > now + most else charged


def _charge_both(bucket: Bucket, packet: Packet, packets: int, new_flows: int, now: int) -> tuple[Bucket, bool]:
    """Charge a packet, and for a SYN a new flow; neither where one of them is refused."""
    charged = bucket
    if packets:
        at = charge(bucket.packets, _cost(packets), now)
        if at is None:
            return bucket, False
        charged = replace(charged, packets=at)
    if new_flows and packet.is_syn:
        at = charge(bucket.flows, _cost(new_flows), now)
        if at is None:
            return bucket, False
        charged = replace(charged, flows=at)
    return charged, True


def _cost(rate: int) -> int:
    """Return how far one of `rate` a second moves a bucket on, in whole ns."""
    return max(1, round(SECOND / rate))
