# SPDX-License-Identifier: Apache-2.0
"""What a certificate of a drain says: how its numbers are known, and how many connections may not have been seen. Pure.

An open connection has sent a packet within the VIP's idle timeout. So those that were silent since the drain began are
no more than the packets that came within that time, but before it began. Nor are they more than the TCP connections
that were ever opened, less those seen; that is not so if some came from another balancer, and then it is not used
where the counters show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from xdplb.control.state.certificate import Certificate, Counted, KnownBy, Outcome
from xdplb.model.vip import Protocol, Vip

__all__ = ["Found", "certify", "how_known"]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a drain until `until`; `before` is its certificate so far.

    `lost_records`: how many records of all VIPs were evicted since it began. `packets_within` returns how many packets
    the backend got in so many seconds before it began, or more. `last_packet` is when it got one last, of a QUIC VIP.
    """

    vip: Vip
    before: Certificate
    outcome: Outcome
    until: datetime
    counted: Counted
    lost_records: int
    packets_within: Callable[[float], int]
    last_packet: datetime | None


def how_known(vip: Vip, *, has_all_recorded: bool) -> KnownBy:
    """Return how the connections of a draining backend are known."""
    if vip.quic is not None:
        return KnownBy.PACKET_COUNTER
    if vip.tracks_always:
        return KnownBy.RECORDS if has_all_recorded else KnownBy.RECORDS_SINCE
    return KnownBy.SLOTS if vip.key.protocol is Protocol.UDP else KnownBy.RECORDS_SINCE


def certify(found: Found) -> Certificate:
    """Return the certificate."""
    # No connection comes to a draining backend: what was known when it began, is, however the VIP tracks them by now.
    known_by = found.before.known_by if found.vip.quic is None else KnownBy.PACKET_COUNTER
    at_most, why = _silent(known_by, found)
    before, countable = found.before, known_by in {KnownBy.RECORDS, KnownBy.RECORDS_SINCE}
    return Certificate(
        outcome=found.outcome,
        started=before.started,
        until=found.until,
        known_by=known_by,
        counted=found.counted if countable else None,
        silent_at_most=at_most,
        why=why,
        last_packet=found.last_packet if known_by is KnownBy.PACKET_COUNTER else None,
        restarts=before.restarts,
        packets_before=before.packets_before,
        made_before=before.made_before,
        lost_records=found.lost_records,
    )


def _silent(known_by: KnownBy, found: Found) -> tuple[int | None, str]:
    """Return how many open connections may not have been seen, None if that is not known, and a sentence about it."""
    if found.before.packets_before == 0:
        return 0, "the backend had never got a packet when the drain began"
    if known_by is KnownBy.PACKET_COUNTER:
        return None, _quic_words(found)
    if known_by is KnownBy.SLOTS:
        return 0, (
            "UDP flows of this VIP have no records: all went to other backends with their slots when the drain began"
        )
    idle, seconds = found.vip.idle_timeout_seconds, (found.until - found.before.started).total_seconds()
    at_most, why = found.lost_records, ""
    if known_by is KnownBy.RECORDS:
        why = "every connection had a record"
    elif seconds > idle:
        why = f"who has sent nothing for {idle} s (idle_timeout_seconds) has no connection any more"
    else:
        return _by_counters(found, idle, seconds)
    if found.lost_records:
        why += f", but {found.lost_records} records were evicted from the full flow table meanwhile"
    return at_most, why


def _by_counters(found: Found, idle: float, seconds: float) -> tuple[int, str]:
    packets = found.packets_within(max(0.0, idle - seconds))
    unseen = found.before.made_before - found.counted.seen
    why = f"who has sent nothing in the {seconds:.0f} s since the drain began was not seen"
    if found.vip.key.protocol is Protocol.TCP and 0 <= unseen < packets:
        return unseen, (
            f"{why}; {found.before.made_before} connections were ever opened to the backend by this balancer"
        )
    return packets, f"{why}; {packets} packets came in the {idle - seconds:.0f} s before that"


def _quic_words(found: Found) -> str:
    """Return what is known of connections that go by their QUIC connection ID."""
    words = "connections that go by their QUIC connection ID have no records"
    if found.last_packet is None:
        return words
    quiet = max(0.0, (found.until - found.last_packet).total_seconds())
    return f"{words}; no packet has come for {quiet:.0f} s"
