# SPDX-License-Identifier: Apache-2.0
"""The other balancers, as the daemon knows them: are they heard of, do they run and have the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .finding import Finding, ok, warn

__all__ = ["examine_peers"]

_FIXES = {
    "key": "put the same key into the key files of both, and send both SIGHUP: docs/cluster.md, The key",
    "name": "start each with another --node",
    "records": "give it --advertise-url, and this node --peer-token-file or --peer-tls-cert: docs/cluster.md, Peers",
    "state": "xdplb config dump on both, and apply what is wanted to the other one",
}
_SILENT = "is it up, and does its firewall let UDP of the peers' port in? docs/cluster.md, Firewall"


def examine_peers(nodes: Sequence[Mapping[str, Any]], drift: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield what is wrong with other nodes; nothing if this one has none."""
    for each in drift:
        if each["kind"] == "peer":
            yield warn("peers", each["reason"], _FIXES.get(each["what"].rpartition(" ")[2], _SILENT))
    others = [node for node in nodes if not node["this_node"]]
    own = next((node for node in nodes if node["this_node"]), None)
    for node in others:
        yield from _examine(node, own)


def _examine(node: Mapping[str, Any], own: Mapping[str, Any] | None) -> Iterator[Finding]:
    check = f"node {node['name']}"
    if node["state"] == "lost":
        yield warn(check, f"it was heard of last at {node['last_heard']}", _SILENT)
        return
    if own is not None and node["version"] != own["version"]:
        yield warn(
            check, f"it runs xdplb {node['version']}, and this one {own['version']}", "upgrade one after the other"
        )
    if node["peer_up"] is not None and node["url"] is None:
        yield warn(check, "it does not say where its API is, so nothing can be pulled from it", _FIXES["records"])
    if node["peer_up"]:
        yield ok(check, f"records of connections go to it and come from it; it is {node['state']}")
