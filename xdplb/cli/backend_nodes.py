# SPDX-License-Identifier: Apache-2.0
"""`xdplb backend ls VIP --nodes`: how healthy each node sees the backends of a VIP, as a table."""

from __future__ import annotations

from xdplb.client.bodies import NodeOfVipOut, NodesOfVipOut, SeenHealthOut

from .output import Column, coloured, table

__all__ = ["print_nodes_of_vip"]


def print_nodes_of_vip(body: NodesOfVipOut) -> None:
    """Print a row a backend, with a column a node; what is not up has its reason at the end."""
    nodes = body["nodes"]
    rows = [("(generation)", *(_generation(node) for node in nodes), "")]
    for address in nodes[0]["backends"]:
        seen = [node["backends"].get(address) for node in nodes]
        rows.append((address, *(_word(each) for each in seen), _reasons(nodes, seen)))
    table(
        [
            Column("BACKEND"),
            *(Column(f"{node['name']}", style=coloured) for node in nodes),
            Column("REASON", text=20),
        ],
        rows,
    )


def _generation(node: NodeOfVipOut) -> str:
    generation = "?" if node["generation"] is None else str(node["generation"])
    return generation if node["state"] == "serving" else f"{generation} ({node['state']})"


def _word(seen: SeenHealthOut | None) -> str:
    return "?" if seen is None else str(seen["health"])


def _reasons(nodes: list[NodeOfVipOut], seen: list[SeenHealthOut | None]) -> str:
    """Return why the backend is not up, each reason once, with the nodes that say so if not all do."""
    said: dict[str, list[str]] = {}
    for node, each in zip(nodes, seen, strict=True):
        if each is not None and each["health"] != "up" and each["reason"]:
            said.setdefault(each["reason"], []).append(node["name"])
    return "; ".join(why if len(names) == len(nodes) else f"{', '.join(names)}: {why}" for why, names in said.items())
