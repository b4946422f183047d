"""Giving out the ids under which VIPs and backends are in the maps."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from xdplb.control.records import State
from xdplb.dataplane.capacity import MAX_BACKEND_ID, full
from xdplb.dataplane.plane import Capacity

__all__ = ["backend_ids", "vip_id"]

_EPOCHS = 1 << 16


def vip_id(state: State, capacity: Capacity) -> int:
    """Return the lowest VIP id that is free."""
    used = {record.id for record in state.vips.values()}
    for candidate in range(capacity.vips):
        if candidate not in used:
            return candidate
    raise full("VIPs", len(used), capacity.vips)


def backend_ids(
    state: State, capacity: Capacity, count: int, leaving: Collection[int] = ()
) -> Iterator[tuple[int, int]]:
    """Return `count` free backend ids, each with the epoch of its new holder.

    Ids of backends that are `leaving` in the same change are given out last: packets may still name them.
    """
    last = min(capacity.backends, MAX_BACKEND_ID)
    used = {record.id for _, record in state.backends()}
    if len(used) - len(leaving) + count > last:
        raise full("backends", len(used), last)
    free = list(islice((candidate for candidate in range(1, last + 1) if candidate not in used), count))
    free += sorted(leaving)[: count - len(free)]
    return ((candidate, (state.epochs.get(candidate, -1) + 1) % _EPOCHS) for candidate in free)
