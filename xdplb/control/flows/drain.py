"""How many connections a backend has left, as far as the flow table shows, and what that says of its drain."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from xdplb.control.answers.views import DrainState, DrainView
from xdplb.control.state.snapshot import BoundBackend, Drain, Snapshot
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST
from xdplb.dataplane.plane import FlowRecords

__all__ = ["FIN_QUIET_SECONDS", "HANDSHAKE_SECONDS", "FlowCounts", "count_flows", "drain_view", "load_of", "open_flows"]

FIN_QUIET_SECONDS = 5.0
"""After the client's FIN and this much silence nobody waits for a connection: the backend's own FIN is not seen."""

HANDSHAKE_SECONDS = 10.0
"""A client that sent a SYN this long ago and nothing since has no connection: it was refused, or was a flood.

The backend's RST goes straight to the client and is not seen here.
"""

_TOUCH_SECONDS = 1.0
"""The latest packet of a record may be this much younger than it says: FLOW_TOUCH_AFTER in bpf/lib/flow.h."""

_IDS = 1 << 16
_NO_EPOCH = -1


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Open connections by backend id, as a scan begun at `at` (UTC) saw them; `epochs` are those of the backends.

    `heard` is when those were last sent a packet that drain though not all of their connections have records.
    """

    at: datetime
    by_backend: NDArray[np.int64]
    epochs: Mapping[int, int]
    heard: Mapping[int, datetime]

    def of(self, record: BoundBackend) -> int | None:
        """Return how many connections of this backend were open, None when the backend was not there yet."""
        return int(self.by_backend[record.id]) if self.epochs.get(record.id) == record.epoch else None


def open_flows(flows: FlowRecords, state: Snapshot) -> NDArray[np.bool_]:
    """Return which records are of an open connection of a backend that is still there.

    Ended are those reset, and those silent for longer than their VIP bridges. A FIN alone ends nothing: a client that
    has sent all it had may wait long for the answer.
    """
    idle = np.zeros(_IDS)
    epoch = np.full(_IDS, _NO_EPOCH, np.int64)
    for vip, backend in state.backends():
        idle[backend.id] = vip.vip.idle_timeout_seconds
        epoch[backend.id] = backend.epoch
    reset = (flows.flags & FLOW_RST) != 0
    known = epoch[flows.backend] == flows.epoch
    still_open: NDArray[np.bool_] = known & ~reset & (flows.age <= idle[flows.backend] + _TOUCH_SECONDS)
    return still_open


def count_flows(
    flows: FlowRecords, live: NDArray[np.bool_], state: Snapshot, at: datetime, heard: Mapping[int, datetime]
) -> FlowCounts:
    """Count the open connections of each backend; `live` are the records of such, in a scan begun at `at`.

    Neither a connection that the client closed and that is silent since is counted, nor a handshake that came to
    nothing: either would hold up a drain for as long as the VIP bridges silence. Their records are kept all the same.
    """
    closed = ((flows.flags & FLOW_FIN) != 0) & (flows.age >= FIN_QUIET_SECONDS)
    begun = ((flows.flags & FLOW_ESTABLISHED) != 0) | (flows.age < HANDSHAKE_SECONDS)
    epochs = {backend.id: backend.epoch for _, backend in state.backends()}
    return FlowCounts(at, np.bincount(flows.backend[live & begun & ~closed], minlength=_IDS), epochs, heard)


def load_of(flows: FlowRecords, live: NDArray[np.bool_], state: Snapshot, vips: AbstractSet[int]) -> dict[int, int]:
    """Return how many flows each backend of these VIPs has that no client began to end, as the program counts them."""
    loads = np.bincount(flows.backend[live & ((flows.flags & (FLOW_FIN | FLOW_RST)) == 0)], minlength=_IDS)
    return {backend.id: int(loads[backend.id]) for vip, backend in state.backends() if vip.id in vips}


def drain_view(record: BoundBackend, drain: Drain, counts: FlowCounts | None, now: datetime) -> DrainView:
    """Return where a drain is.

    It is drained when a scan made at least `quiet_seconds` after its start saw no connection: one that is idle
    cannot be seen before it speaks. Where connections have no records, the backend must have been silent for as long,
    and how many there are is not known.
    """
    state, flows = DrainState.DRAINING, None
    if counts is not None and counts.at >= drain.started:
        state, flows = _seen(record, drain, counts)
    if state is DrainState.DRAINING and now >= drain.deadline:
        state = DrainState.TIMED_OUT
    return DrainView(state, drain.started, drain.deadline, drain.quiet_seconds, flows)


def _seen(record: BoundBackend, drain: Drain, counts: FlowCounts) -> tuple[DrainState, int | None]:
    """Return what a scan made since its start says of a drain."""
    flows, heard = counts.of(record), counts.heard.get(record.id)
    quiet_from = drain.started if heard is None else max(drain.started, heard)
    if flows == 0 and counts.at >= quiet_from + timedelta(seconds=drain.quiet_seconds):
        return DrainState.DRAINED, 0
    return DrainState.DRAINING, flows if heard is None else None
