# SPDX-License-Identifier: Apache-2.0
"""The counters: each packet either stops, for a reason, or is sent, to a backend of a VIP. And each has a verdict."""

from __future__ import annotations

from xdplb.dataplane.features import Feature

from .journey import Choice, Journey
from .packet import Packet
from .reasons import Reason, Verdict

__all__ = ["count_sent", "count_stop", "count_verdict"]


def count_stop(journey: Journey, reason: Reason) -> None:
    """Count why a packet was not sent."""
    journey.effects.counts["reason", reason.value, "packets"] += 1


def count_sent(journey: Journey, packet: Packet, choice: Choice) -> None:
    """Count for the VIP and the backend; bytes are those of the frame as it came in."""
    assert journey.vip_id is not None, "a packet that was sent was for a VIP"
    counts = journey.effects.counts
    for kind, number in (("vip", journey.vip_id), ("backend", choice.backend_id)):
        counts[kind, number, "packets"] += 1
        counts[kind, number, "bytes"] += len(packet.frame)
        counts[kind, number, "new_flows"] += choice.is_new_flow
    counts["vip", journey.vip_id, "at_risk"] += choice.at_risk


def count_verdict(journey: Journey, verdict: Verdict) -> None:
    """Count what becomes of a packet, for the NIC that it came in by."""
    if Feature.NICS in journey.config.features:
        journey.effects.counts["nic", journey.ifindex, verdict.name.lower()] += 1
