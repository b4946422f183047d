# SPDX-License-Identifier: Apache-2.0
"""What each node says of a VIP, for the eye: which generation it has, and how healthy it sees the backends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from xdplb.control.answers.views import NodeOfVipView, NodeView
from xdplb.control.state.snapshot import BoundVip
from xdplb.control.writing.store_nodes import StoreNode
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.node_health import SeenHealth

__all__ = ["node_of_vip", "other_of_vip"]


def node_of_vip(
    vip: BoundVip, node: NodeView, known: Mapping[int, KnownHealth], ahead: timedelta, *, generation: int
) -> NodeOfVipView:
    """Return what this node says, which has this `generation` of the VIP; the wall clock is `ahead` of its times."""
    backends: dict[IPAddress, SeenHealth | None] = {}
    for address, backend in vip.backends.items():
        found = known.get(backend.id)
        backends[address] = (
            SeenHealth(Health.UNKNOWN, "", 0.0)
            if found is None
            else SeenHealth(found.health, found.reason, (found.since + ahead).timestamp())
        )
    return NodeOfVipView(node.name, is_this=True, state=node.state, generation=generation, backends=backends)


def other_of_vip(vip: BoundVip, node: NodeView, told: StoreNode | None) -> NodeOfVipView:
    """Return what another node says, by the store; nothing is known of one that does not share it."""
    health = None if told is None else told.health
    return NodeOfVipView(
        node.name,
        is_this=False,
        state=node.state,
        generation=min(vip.generation, node.observed_generation) if node.in_store else None,
        backends={
            address: None if health is None else health.of_backend(vip.vip.key.path, str(address), backend.generation)
            for address, backend in vip.backends.items()
        },
    )
