# SPDX-License-Identifier: Apache-2.0
"""The store that balancers share, as it is shown."""

from __future__ import annotations

from datetime import timedelta

from xdplb.control.answers.views import PendingView, StoreView
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.cluster import Cluster

__all__ = ["store_view"]


def store_view(cluster: Cluster, snapshot: Snapshot, ahead: timedelta) -> StoreView:
    """Return how this balancer, with this state, stands to the store; the wall clock is `ahead` of its times."""
    standing, copy = cluster.standing, snapshot.copy
    pending = (
        PendingView(str(key), snapshot.vips[key].backends[address].backend, each.base.backend)
        for (key, address), each in sorted(copy.pending.items(), key=lambda one: (one[0][0], int(one[0][1])))
    )
    return StoreView(
        place=cluster.place,
        state=standing.state,
        reason=standing.reason,
        since=standing.since + ahead,
        revision=standing.revision,
        lineage=copy.lineage,
        generation=copy.generation,
        digest=str(copy.digest),
        pending=tuple(pending),
        refused=tuple(sorted(copy.refused().items())),
        writes=standing.writes,
        conflicts=standing.conflicts,
    )
