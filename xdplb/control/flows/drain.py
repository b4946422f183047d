# SPDX-License-Identifier: Apache-2.0
"""How many open connections a backend has according to the flow table, and how far its drain is."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from xdplb.control.flows.readings import Column, column
from xdplb.control.state.desired import Drain
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST
from xdplb.dataplane.plane import BackendCounters, FlowRecords

__all__ = [
    "FIN_QUIET_SECONDS",
    "HANDSHAKE_SECONDS",
    "REFRESHED_WITHIN",
    "DrainState",
    "DrainView",
    "FlowCounts",
    "QuicSilence",
    "count_flows",
    "drain_view",
    "load_of",
    "open_flows",
]

FIN_QUIET_SECONDS = 5.0
"""A connection counts as ended after the client's FIN and this much silence: the backend's FIN is not seen here."""

HANDSHAKE_SECONDS = 10.0
"""A client that has sent nothing since a SYN this long ago has no connection: it was refused, or it is a SYN flood.

The time is that since the record was fresh, which SYNs do not make it: of a connection that was silent for longer, the
first SYN ends the count.

The backend's RST goes straight to the client and is not seen here.
"""

TOUCH_SECONDS = 1.0
"""A record's last packet may be this much newer than the record says: FLOW_TOUCH_AFTER in bpf/lib/flow.h."""

REFRESHED_WITHIN = 1 / 3
"""Other balancers are told again of connections that live, each time this part of their VIP's idle timeout is over."""

_STALE_SECONDS = 60.0
"""How long the counts of a scan are used."""

_IDS = 1 << 16
_NO_EPOCH = -1


class DrainState(StrEnum):
    """The progress of a drain: connections left, none left, timed out with some left, or those cut off."""

    DRAINING = "draining"
    DRAINED = "drained"
    TIMED_OUT = "timed_out"
    CUT = "cut"

    @property
    def is_over(self) -> bool:
        """Whether no connection is left, so that there is nothing more to count."""
        return self in {DrainState.DRAINED, DrainState.CUT}


@dataclass(frozen=True, slots=True)
class DrainView:
    """A drain. `flows` is the number of open connections, None before the first count.

    It is also None if connections have no records, as with QUIC connection IDs, until the backend is drained.
    """

    state: DrainState
    started: datetime
    deadline: datetime
    quiet_seconds: float
    flows: int | None
    cut_at_deadline: bool = False


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Open connections by backend id, from a scan started at `at` (UTC); `epochs` are those of the backends.

    `live` counts also those that are silent since the client's FIN or SYN, `made` are the backends' new flows until the
    scan began. `last_packets` has the time of the last packet of each draining backend whose connections do not all
    have records.
    """

    at: datetime
    by_backend: NDArray[np.int64]
    live: NDArray[np.int32]
    made: Column
    epochs: Mapping[int, int]
    last_packets: Mapping[int, datetime]

    def of(self, backend: BoundBackend) -> int | None:
        """Return how many connections of this backend were open, None if it did not exist at the scan."""
        return int(self.by_backend[backend.id]) if self.epochs.get(backend.id) == backend.epoch else None

    def is_recent(self, now: datetime) -> bool:
        """Return whether the scan is not too old to be used."""
        return (now - self.at).total_seconds() <= _STALE_SECONDS

    def made_until(self, backend_id: int) -> int:
        """Return how many new flows a backend had been counted for when the scan began."""
        return int(self.made[backend_id]) if backend_id < len(self.made) else 0


def open_flows(flows: FlowRecords, snapshot: Snapshot, *, has_peers: bool = False) -> NDArray[np.bool_]:
    """Return which records belong to an open connection of a backend that still exists.

    A connection has ended if it was reset, or silent for longer than the VIP's idle timeout. A FIN alone does not end
    it: a client that has sent its request may wait long for the answer. With peers its packets may have come to another
    balancer, and what that one told before it was lost is older than the last of them, by up to REFRESHED_WITHIN.
    """
    idle = np.zeros(_IDS)
    epoch = np.full(_IDS, _NO_EPOCH, np.int64)
    for vip, backend in snapshot.backends():
        idle[backend.id] = vip.vip.idle_timeout_seconds
        epoch[backend.id] = backend.epoch
    reset = (flows.flags & FLOW_RST) != 0
    known = epoch[flows.backend] == flows.epoch
    longest = idle[flows.backend] * (1 + REFRESHED_WITHIN * has_peers) + TOUCH_SECONDS
    still_open: NDArray[np.bool_] = known & ~reset & (flows.age <= longest)
    return still_open


def count_flows(
    flows: FlowRecords,
    live: NDArray[np.bool_],
    snapshot: Snapshot,
    at: datetime,
    last_packets: Mapping[int, datetime],
    *,
    counters: Mapping[int, BackendCounters],
) -> FlowCounts:
    """Count the open connections of each backend; `live` marks their records, in a scan started at `at`.

    `counters` were read before it.

    Connections that are silent since the client's FIN are not counted, nor are handshakes that never finished: either
    would delay a drain by the VIP's idle timeout. Their records are still kept.
    """
    closed = ((flows.flags & FLOW_FIN) != 0) & (flows.age >= FIN_QUIET_SECONDS)
    begun = ((flows.flags & FLOW_ESTABLISHED) != 0) | (flows.age < HANDSHAKE_SECONDS)
    epochs = {backend.id: backend.epoch for _, backend in snapshot.backends()}
    return FlowCounts(
        at,
        np.bincount(flows.backend[live & begun & ~closed], minlength=_IDS),
        np.bincount(flows.backend[live], minlength=_IDS).astype(np.int32),
        column({number: counter.new_flows for number, counter in counters.items()}),
        epochs,
        last_packets,
    )


def load_of(flows: FlowRecords, live: NDArray[np.bool_], snapshot: Snapshot, vips: AbstractSet[int]) -> dict[int, int]:
    """Return how many flows without FIN or RST each backend of these VIPs has: the load, as the program counts it."""
    loads = np.bincount(flows.backend[live & ((flows.flags & (FLOW_FIN | FLOW_RST)) == 0)], minlength=_IDS)
    return {backend.id: int(loads[backend.id]) for vip, backend in snapshot.backends() if vip.id in vips}


def drain_view(
    backend: BoundBackend, drain: Drain, counts: FlowCounts | None, now: datetime, cut_at: datetime | None
) -> DrainView:
    """Return the progress of a drain; `cut_at` is when its backend was cut off, None if it was not.

    The backend is drained when a scan at least `quiet_seconds` after the start saw no connection: an idle connection
    is not seen before its next packet. If connections have no records, the backend must have received no packet for
    that long, and their number is not known.
    """
    state, flows = DrainState.DRAINING, None
    if drain.is_cut(cut_at):
        state, flows = DrainState.CUT, 0
    elif counts is not None and counts.at >= drain.started:
        state, flows = _seen(backend, drain, counts)
    if state is DrainState.DRAINING and now >= drain.deadline and not drain.cut_at_deadline:
        state = DrainState.TIMED_OUT
    return DrainView(state, drain.started, drain.deadline, drain.quiet_seconds, flows, drain.cut_at_deadline)


def _seen(backend: BoundBackend, drain: Drain, counts: FlowCounts) -> tuple[DrainState, int | None]:
    """Return the state of a drain and its open connections, from a scan made since it started."""
    flows, last_packets = counts.of(backend), counts.last_packets.get(backend.id)
    quiet_from = drain.started if last_packets is None else max(drain.started, last_packets)
    if flows == 0 and counts.at >= quiet_from + timedelta(seconds=drain.quiet_seconds):
        return DrainState.DRAINED, 0
    return DrainState.DRAINING, flows if last_packets is None else None


class QuicSilence:
    """Tells since when draining backends of QUIC VIPs have received no packet, from their packet counters.

    Connections that are found by their QUIC connection IDs have no records that could be counted.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[int, datetime]] = {}

    def note(self, snapshot: Snapshot, counters: Mapping[int, BackendCounters], at: datetime) -> Mapping[int, datetime]:
        """Return, by backend id, the time of the last reading that found new packets for a draining backend.

        `counters` is the present reading, by backend id, at `at` (UTC). A backend that was not in the previous reading
        counts as having received packets now.
        """
        seen: dict[tuple[int, int], tuple[int, datetime]] = {}
        draining = [
            backend
            for vip in snapshot.vips.values()
            if vip.vip.quic is not None
            for backend in vip.backends.values()
            if backend.drain is not None
        ]
        for backend in draining:
            key = (backend.id, backend.epoch)
            packets = counters.get(backend.id, BackendCounters()).packets
            before = self._seen.get(key)
            seen[key] = before if before is not None and before[0] == packets else (packets, at)
        self._seen = seen
        return {backend_id: last_packets for (backend_id, _), (_, last_packets) in seen.items()}
