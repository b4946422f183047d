# SPDX-License-Identifier: Apache-2.0
"""What a running daemon says of the store that it shares with other balancers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .finding import Finding, ok, warn

__all__ = ["examine_store"]

_FIXES = {
    "away": "does etcd answer from here? etcdctl endpoint health; docs/cluster.md, When the store is away",
    "joining": "it is tried again every second; if it stays so, read the daemon's log",
    "apart": "docs/cluster.md, Beginning, and joining",
}


def examine_store(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield how the store is; nothing for a balancer without one. It forwards whatever the store does."""
    store = status.get("store")  # an older daemon has none
    if store is None:
        return
    if store["state"] == "up":
        yield ok("store", f"{store['place']} answers, generation {store['generation']}")
    else:
        yield warn("store", f"{store['place']} is {store['state']}: {store['reason']}", _FIXES.get(store["state"], ""))
    if pending := store["pending"]:
        which = ", ".join(f"{each['address']} of {each['vip']}" for each in pending)
        yield warn("store", f"changed here alone, and not written to it yet: {which}", "docs/cluster.md")
    for each in store["refused"]:
        fix = "upgrade xdplb if it does not understand it; else docs/cluster.md, What a balancer cannot take"
        yield warn(f"{each['path']} in the store", f"it is not taken here: {each['reason']}", fix)
