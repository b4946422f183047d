# SPDX-License-Identifier: Apache-2.0
"""The nodes as they are shown: this one, and what the others tell of themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from xdplb.cluster.repository import LEASE_SECONDS
from xdplb.control.answers.views import NodeDrainView, NodeView
from xdplb.control.writing.node_watch import NodeWatch
from xdplb.control.writing.store_nodes import StoreNode
from xdplb.model.moment import moment_of_seconds
from xdplb.model.node import SeenState
from xdplb.model.node_status import NodeStatus
from xdplb.peers.exchange import Peer

__all__ = ["HeardOf", "heard_by_peers", "heard_by_store", "nodes_view", "this_node"]

_LEASE = timedelta(seconds=LEASE_SECONDS)


@dataclass(frozen=True, slots=True)
class HeardOf:
    """What another node said of itself, and when. `peer_is_up` says whether records go to it, None if it is no peer.

    `in_store`: it said so by the store.
    """

    status: NodeStatus
    heard: datetime
    peer_is_up: bool | None
    is_there: bool
    in_store: bool = False


def heard_by_peers(peers: Iterable[Peer], now: datetime, clock: float) -> list[HeardOf]:
    """Return what peers have said; `clock` is that by which they have times, and stands now."""
    return [
        HeardOf(
            peer.status,
            moment_of_seconds(now.timestamp() - (clock - peer.heard)),
            peer_is_up=peer.is_up,
            is_there=peer.is_up,
        )
        for peer in peers
        if peer.status is not None and peer.heard is not None
    ]


def heard_by_store(
    nodes: Collection[StoreNode], now: datetime, ahead: timedelta, away: datetime | None
) -> list[HeardOf]:
    """Return what nodes have published in the store, which is `away` since then, None if it is not.

    The wall clock is `ahead` of these times.
    """
    lost = away if away is not None and now - away > _LEASE else None
    ends = [node.gone or lost for node in nodes]
    return [
        HeardOf(node.status, (end or now) + ahead, peer_is_up=None, is_there=end is None, in_store=True)
        for node, end in zip(nodes, ends, strict=True)
    ]


def this_node(
    node: NodeWatch,
    status: NodeStatus,
    *,
    started: datetime,
    ahead: timedelta,
    not_ready: Sequence[str],
    in_store: bool,
    announces_in: tuple[int, int] | None,
) -> NodeView:
    """Return this node, which has `started` then and tells the others this `status`."""
    drain = node.drain
    since = started if drain is None else drain.ended or drain.started
    return NodeView(
        name=node.name,
        is_this=True,
        state=SeenState(node.state),
        since=since + ahead,
        version=status.version,
        generation=status.generation,
        observed_generation=status.observed_generation,
        not_ready=tuple(not_ready),
        drain=None
        if drain is None
        else NodeDrainView(
            started=drain.started + ahead,
            deadline=drain.deadline + ahead,
            quiet_seconds=drain.quiet_seconds,
            ended=None if drain.ended is None else drain.ended + ahead,
            timed_out=drain.timed_out,
            packets_per_second=node.packets_per_second,
        ),
        status=status,
        heard=None,
        peer_is_up=None,
        state_is_equal=None,
        health_is_equal=None,
        share=None,
        in_store=in_store,
        announces_in=announces_in,
    )


def nodes_view(this: NodeView, heard: Sequence[HeardOf]) -> list[NodeView]:
    """Return this node, and the others by name; of what several ways tell of one, the newest counts."""
    others: dict[str, HeardOf] = {}
    for each in heard:
        before = others.get(each.status.name)
        others[each.status.name] = each if before is None else _joined(before, each)
    others.pop(this.name, None)
    views = [this, *(_other(each, this.status) for _, each in sorted(others.items()))]
    total = sum(view.status.packets_per_second for view in views if view.state is not SeenState.LOST)
    return [replace(view, share=_share(view, total)) for view in views]


def _joined(one: HeardOf, other: HeardOf) -> HeardOf:
    newer = max(one, other, key=lambda each: (each.is_there, each.heard))
    ups = [each.peer_is_up for each in (one, other) if each.peer_is_up is not None]
    return replace(
        newer,
        peer_is_up=any(ups) if ups else None,
        is_there=one.is_there or other.is_there,
        in_store=one.in_store or other.in_store,
    )


def _other(heard: HeardOf, own: NodeStatus) -> NodeView:
    status = heard.status
    state = SeenState(status.state) if status.state in set(SeenState) else SeenState.UNKNOWN
    return NodeView(
        name=status.name,
        is_this=False,
        state=state if heard.is_there else SeenState.LOST,
        since=moment_of_seconds(status.since) if heard.is_there else heard.heard,
        version=status.version,
        generation=status.generation,
        observed_generation=status.observed_generation,
        not_ready=(),
        drain=None,
        status=status,
        heard=heard.heard,
        peer_is_up=heard.peer_is_up,
        state_is_equal=_equal(status.digest, own.digest),
        health_is_equal=_equal(status.health, own.health),
        share=None,
        in_store=heard.in_store,
    )


def _equal(one: str, other: str) -> bool | None:
    return one == other if one and other else None


def _share(view: NodeView, total: float) -> float | None:
    return view.status.packets_per_second / total if total and view.state is not SeenState.LOST else None
