"""Giving out the ids under which VIPs and backends are in the maps."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import CapacityError

__all__ = ["backend_ids", "vip_id"]

_EPOCHS = 1 << 16
_LAST_ID = 0xFFFE


def vip_id(state: Snapshot, capacity: Capacity) -> int:
    """Return the lowest VIP id that is free."""
    used = {record.id for record in state.vips.values()}
    for candidate in range(capacity.vips):
        if candidate not in used:
            return candidate
    raise CapacityError(
        f"the data plane holds {capacity.vips} VIPs, and has as many",
        hint="load it with a larger --max-vips: xdplb down, then xdplb up",
    )


def backend_ids(
    state: Snapshot, capacity: Capacity, count: int, leaving: Collection[int] = ()
) -> Iterator[tuple[int, int]]:
    """Return `count` free backend ids, each with the epoch of its new holder.

    Ids of backends that are `leaving` in the same change are given out last: packets may still name them.
    """
    last = min(capacity.backends, _LAST_ID)
    used = {record.id for _, record in state.backends()}
    if len(used) - len(leaving) + count > last:
        raise CapacityError(
            f"the data plane holds {last} backends, and would need {len(used) - len(leaving) + count}",
            hint="load it with a larger --max-backends (at most 65534): xdplb down, then xdplb up",
        )
    free = list(islice((candidate for candidate in range(1, last + 1) if candidate not in used), count))
    free += sorted(leaving)[: count - len(free)]
    return ((candidate, (state.epochs.get(candidate, -1) + 1) % _EPOCHS) for candidate in free)
