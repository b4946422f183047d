# SPDX-License-Identifier: Apache-2.0
"""How many connections a change may break: numbers for what it exposes, from counters and flow records. Pure.

An open connection has sent a packet within the VIP's idle timeout. So there are no more of them than packets in that
time, which holds whatever is not known. Nor, of TCP, than were ever opened: that is the better number where few are,
but it misses connections that came from another balancer. Where each has a record, the records are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from xdplb.control.flows.drain import FlowCounts
from xdplb.control.flows.traffic import Traffic
from xdplb.control.plan.exposure import Exposed, Exposure
from xdplb.control.plan.impact import UNKNOWN, AtRisk, KnownBy, Risk
from xdplb.dataplane.plane import BackendCounters, VipCounters
from xdplb.model.address import IPAddress

__all__ = ["Seen", "weigh"]

_WORST = (KnownBy.NOTHING, KnownBy.COUNTERS, KnownBy.RECORDS, KnownBy.PLAN)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of traffic at `now` (UTC): the counters of backends and VIPs by id, and what is known of the past.

    `counts` is the last scan of the flow table, None without a recent one. `all_recorded` are the ids of the VIPs of
    which each open connection has a record.
    """

    now: datetime
    backends: Mapping[int, BackendCounters]
    vips: Mapping[int, VipCounters]
    traffic: Traffic
    counts: FlowCounts | None
    all_recorded: AbstractSet[int]


def weigh(exposures: Iterable[Exposure], seen: Seen) -> tuple[tuple[Risk, ...], AtRisk]:
    """Return the connections at risk by VIP and cause, without those that are certainly none, and all together."""
    found: list[Risk] = []
    numbers: list[AtRisk] = []
    for exposure in exposures:
        weighed = _weighed(exposure, seen)
        numbers += [number for _, number in weighed]
        if some := [(address, number) for address, number in weighed if number.at_most != 0]:
            addresses = tuple(address for address, _ in some if address is not None)
            found.append(Risk(exposure.cause, exposure.vip, addresses, _sum([number for _, number in some])))
    return tuple(found), _sum(numbers) if numbers else AtRisk()


def _weighed(exposure: Exposure, seen: Seen) -> list[tuple[IPAddress | None, AtRisk]]:
    """Return the connections at risk of each backend that is exposed, or of all together, without an address."""
    if exposure.records_keep and exposure.vip_id in seen.all_recorded:
        return [(None, AtRisk(0, 0, KnownBy.RECORDS))]
    if not exposure.backends:
        return [(None, _of_vip(exposure, seen))]
    return [(each.address, _of_backend(each, exposure, seen)) for each in exposure.backends]


def _of_vip(exposure: Exposure, seen: Seen) -> AtRisk:
    counted = seen.vips.get(exposure.vip_id)
    if counted is None:
        return UNKNOWN
    at_most = seen.traffic.vip_packets_within(exposure.vip_id, counted.packets, exposure.idle_seconds, seen.now)
    return AtRisk(_expected(at_most, counted.new_flows, exposure), at_most, KnownBy.COUNTERS)


def _of_backend(each: Exposed, exposure: Exposure, seen: Seen) -> AtRisk:
    counted = seen.backends.get(each.id)
    if counted is None:
        return UNKNOWN
    at_most = seen.traffic.packets_within(each.id, counted.packets, exposure.idle_seconds, seen.now)
    if at_most == 0:
        return AtRisk(0, 0, KnownBy.COUNTERS)
    expected = _expected(at_most, counted.new_flows, exposure)
    known_by = KnownBy.COUNTERS
    records = None if seen.counts is None or exposure.records_keep else _records(each, seen.counts, counted)
    if records is not None:
        is_recorded = exposure.vip_id in seen.all_recorded
        if is_recorded or not each.is_named:
            at_most, known_by = min(records.live, at_most), KnownBy.RECORDS
        if is_recorded or not each.takes_new:
            expected = records.open
    return AtRisk(math.ceil(min(expected, at_most) * each.share), at_most, known_by)


def _expected(at_most: int, opened: int, exposure: Exposure) -> int:
    """Return about how many of at most so many connections are open, if so many were opened here.

    If none was, they came from another balancer, and nothing is known but their packets.
    """
    return min(at_most, opened) if exposure.counts_syns and opened else at_most


class _Records(NamedTuple):
    """How many connections of a backend are recorded: open ones, and those that may still be open."""

    open: int
    live: int


def _records(each: Exposed, counts: FlowCounts, counted: BackendCounters) -> _Records | None:
    if counts.epochs.get(each.id) != each.epoch:
        return None
    since = max(0, counted.new_flows - counts.made_until(each.id))
    return _Records(int(counts.by_backend[each.id]) + since, int(counts.live[each.id]) + since)


def _sum(numbers: Sequence[AtRisk]) -> AtRisk:
    known_by = min((number.known_by for number in numbers), key=_WORST.index)
    expected, at_most = [number.expected for number in numbers], [number.at_most for number in numbers]
    return AtRisk(_total(expected), _total(at_most), known_by)


def _total(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None
