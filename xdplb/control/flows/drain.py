"""How many connections a backend has left, as far as the flow table shows, and what that says of its drain."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from xdplb.control.state.desired import Drain
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST
from xdplb.dataplane.plane import BackendCounters, FlowRecords

__all__ = [
    "FIN_QUIET_SECONDS",
    "HANDSHAKE_SECONDS",
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
"""After the client's FIN and this much silence nobody waits for a connection: the backend's own FIN is not seen."""

HANDSHAKE_SECONDS = 10.0
"""A client that sent a SYN this long ago and nothing since has no connection: it was refused, or was a flood.

The backend's RST goes straight to the client and is not seen here.
"""

_TOUCH_SECONDS = 1.0
"""The latest packet of a record may be this much younger than it says: FLOW_TOUCH_AFTER in bpf/lib/flow.h."""

_STALE_SECONDS = 60.0
"""For how long a scan says how many connections a backend has."""

_IDS = 1 << 16
_NO_EPOCH = -1


class DrainState(StrEnum):
    """Where a drain is: connections left, none left, or the time given is over with some left."""

    DRAINING = "draining"
    DRAINED = "drained"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class DrainView:
    """A drain; `flows` are the open connections seen, None before the first count.

    It is None too where connections have no records: of QUIC, until the backend is drained.
    """

    state: DrainState
    started: datetime
    deadline: datetime
    quiet_seconds: float
    flows: int | None


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Open connections by backend id, as a scan begun at `at` (UTC) saw them; `epochs` are those of the backends.

    `heard` is when those were last sent a packet that drain though not all of their connections have records.
    """

    at: datetime
    by_backend: NDArray[np.int64]
    epochs: Mapping[int, int]
    heard: Mapping[int, datetime]

    def of(self, backend: BoundBackend) -> int | None:
        """Return how many connections of this backend were open, None when the backend was not there yet."""
        return int(self.by_backend[backend.id]) if self.epochs.get(backend.id) == backend.epoch else None

    def recent(self, now: datetime) -> NDArray[np.int64] | None:
        """Return how many connections each backend had, by id, None where that was too long ago."""
        return self.by_backend if (now - self.at).total_seconds() <= _STALE_SECONDS else None


def open_flows(flows: FlowRecords, snapshot: Snapshot) -> NDArray[np.bool_]:
    """Return which records are of an open connection of a backend that is still there.

    Ended are those reset, and those silent for longer than their VIP bridges. A FIN alone ends nothing: a client that
    has sent all it had may wait long for the answer.
    """
    idle = np.zeros(_IDS)
    epoch = np.full(_IDS, _NO_EPOCH, np.int64)
    for vip, backend in snapshot.backends():
        idle[backend.id] = vip.vip.idle_timeout_seconds
        epoch[backend.id] = backend.epoch
    reset = (flows.flags & FLOW_RST) != 0
    known = epoch[flows.backend] == flows.epoch
    still_open: NDArray[np.bool_] = known & ~reset & (flows.age <= idle[flows.backend] + _TOUCH_SECONDS)
    return still_open


def count_flows(
    flows: FlowRecords, live: NDArray[np.bool_], snapshot: Snapshot, at: datetime, heard: Mapping[int, datetime]
) -> FlowCounts:
    """Count the open connections of each backend; `live` are the records of such, in a scan begun at `at`.

    Neither a connection that the client closed and that is silent since is counted, nor a handshake that came to
    nothing: either would hold up a drain for as long as the VIP bridges silence. Their records are kept all the same.
    """
    closed = ((flows.flags & FLOW_FIN) != 0) & (flows.age >= FIN_QUIET_SECONDS)
    begun = ((flows.flags & FLOW_ESTABLISHED) != 0) | (flows.age < HANDSHAKE_SECONDS)
    epochs = {backend.id: backend.epoch for _, backend in snapshot.backends()}
    return FlowCounts(at, np.bincount(flows.backend[live & begun & ~closed], minlength=_IDS), epochs, heard)


def load_of(flows: FlowRecords, live: NDArray[np.bool_], snapshot: Snapshot, vips: AbstractSet[int]) -> dict[int, int]:
    """Return how many flows each backend of these VIPs has that no client began to end, as the program counts them."""
    loads = np.bincount(flows.backend[live & ((flows.flags & (FLOW_FIN | FLOW_RST)) == 0)], minlength=_IDS)
    return {backend.id: int(loads[backend.id]) for vip, backend in snapshot.backends() if vip.id in vips}


def drain_view(backend: BoundBackend, drain: Drain, counts: FlowCounts | None, now: datetime) -> DrainView:
    """Return where a drain is.

    It is drained when a scan made at least `quiet_seconds` after its start saw no connection: one that is idle
    cannot be seen before it speaks. Where connections have no records, the backend must have been silent for as long,
    and how many there are is not known.
    """
    state, flows = DrainState.DRAINING, None
    if counts is not None and counts.at >= drain.started:
        state, flows = _seen(backend, drain, counts)
    if state is DrainState.DRAINING and now >= drain.deadline:
        state = DrainState.TIMED_OUT
    return DrainView(state, drain.started, drain.deadline, drain.quiet_seconds, flows)


def _seen(backend: BoundBackend, drain: Drain, counts: FlowCounts) -> tuple[DrainState, int | None]:
    """Return what a scan made since its start says of a drain."""
    flows, heard = counts.of(backend), counts.heard.get(backend.id)
    quiet_from = drain.started if heard is None else max(drain.started, heard)
    if flows == 0 and counts.at >= quiet_from + timedelta(seconds=drain.quiet_seconds):
        return DrainState.DRAINED, 0
    return DrainState.DRAINING, flows if heard is None else None


class QuicSilence:
    """Tells since when backends of QUIC that drain are silent, from their packet counters.

    Connections that are found by their QUIC connection IDs have no records that could be counted.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[int, datetime]] = {}

    def note(self, snapshot: Snapshot, counters: Mapping[int, BackendCounters], at: datetime) -> Mapping[int, datetime]:
        """Return for the id of each such backend the reading that found more packets than the one before.

        That is this one, of `counters` by backend id at `at` (UTC), for a backend that was not in the one before.
        """
        seen: dict[tuple[int, int], tuple[int, datetime]] = {}
        for vip, backend in snapshot.backends():
            if vip.vip.quic is None or backend.drain is None:
                continue
            key = (backend.id, backend.epoch)
            packets = counters.get(backend.id, BackendCounters()).packets
            before = self._seen.get(key)
            seen[key] = before if before is not None and before[0] == packets else (packets, at)
        self._seen = seen
        return {backend_id: heard for (backend_id, _), (_, heard) in seen.items()}
