# SPDX-License-Identifier: Apache-2.0
"""Which nodes do not have the newest generation of a VIP or a backend yet, for tables."""

from __future__ import annotations

from collections.abc import Sequence

from xdplb.client import Client, NotFoundError
from xdplb.client.bodies import NodeOut

from .output import Column

__all__ = ["NODES", "nodes_cell", "sharing_nodes"]

NODES = Column("NODES", text=16)
"""Shown if there are several nodes with one store."""


def sharing_nodes(client: Client) -> list[NodeOut]:
    """Return the nodes that share the store with the one that is asked, itself first; none if it is alone."""
    try:
        nodes = client.nodes.list().json()["nodes"]
    except NotFoundError:  # an older daemon
        return []
    sharing = [node for node in nodes if node.get("in_store")]
    return sharing if len(sharing) > 1 else []


def nodes_cell(generation: int, nodes: Sequence[NodeOut]) -> str:
    """Return `all` if all nodes have this generation, else which have another one, and which are lost."""
    told = []
    for node in nodes:
        if node["state"] == "lost":
            told.append(f"{node['name']} is lost")
        elif node["observed_generation"] < generation:
            told.append(f"{node['name']} at {node['observed_generation']}")
    return ", ".join(told) or "all"
