# SPDX-License-Identifier: Apache-2.0
"""The version of each map's layout, and which older ones cannot be carried over.

A version goes up with every change to a map's key or value. Added fields are carried over without more code (see
takeover.py). UNREADABLE has the versions that cannot be carried over, since the same fields now mean something else.
docs/contributing.md says what to do, step by step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from xdplb.model.errors import ConflictError

if TYPE_CHECKING:  # `xdplb version` does not wait for numpy
    from .map_layout import MapLayout

__all__ = ["DOWN_AND_UP", "UNREADABLE", "VERSIONS", "check_readable", "layout_name"]

DOWN_AND_UP = "run `xdplb down --all`, then `xdplb up`; connections that depend on a flow record break"
"""The hint if pinned maps cannot be taken over."""

VERSIONS: dict[str, int] = {
    "vip_index": 1,
    "vip_index6": 1,
    "vip_prefixes": 1,
    "vip_prefixes6": 1,
    "vip_tables": 2,
    "table_prints": 1,
    "vip_stats": 2,
    "reason_stats": 2,
    "nic_stats": 1,
    "backends": 1,
    "backend_stats": 2,
    "backend_loads": 1,
    "backend_doubts": 1,
    "second_stats": 1,
    "vip_strays": 1,
    "quic_servers": 1,
    "nat_backends": 1,
    "nat_index": 2,
    "client_ways": 1,
    "nat_direct": 1,
    "tx_ports": 1,
    "flow_lines": 1,
    "flow_lines6": 1,
    "flows": 1,
    "flows6": 1,
    "probation": 1,
    "probation6": 1,
    "fragments": 2,
    "vip_guards": 3,
    "vip_buckets": 1,
    "source_buckets": 1,
    "access4": 1,
    "access6": 1,
    "answer_budget": 1,
    "handshake_shares": 1,
    "handshakes": 1,
    "handshake_stats": 1,
    "shared_flows": 1,
    "shared_losses": 1,
    "tunnel_sources": 1,
    "unwrapped_packets": 1,
    "explain_decision": 1,
    "capture_decision": 1,
    "capture_filter": 1,
    "capture_events": 1,
    "decap_addresses": 1,
    "decap_stats": 1,
}

UNREADABLE: dict[str, tuple[int, str]] = {}
"""By map: the first version that can be carried over, and why those before it cannot, as the end of a sentence."""


def layout_name(versions: Mapping[str, int] = VERSIONS) -> str:
    """Return eight hex digits for the layouts of all maps: where they are equal, nothing has to be carried over."""
    told = "".join(f"{name}={version}\n" for name, version in sorted(versions.items()))
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def check_readable(found: Mapping[str, MapLayout]) -> None:
    """Raise ConflictError, which says why, if maps of these layouts cannot be carried over."""
    for name, layout in found.items():
        if layout.version > VERSIONS.get(name, layout.version):
            raise ConflictError(
                f"the pinned maps were made by a newer xdplb: {name} has layout {layout.version}, "
                f"this xdplb knows up to {VERSIONS[name]}",
                hint=f"run the newer xdplb, or {DOWN_AND_UP}",
            )
        oldest, why = UNREADABLE.get(name, (0, ""))
        if layout.version < oldest:
            raise ConflictError(
                f"the map {name} cannot be carried over from layout {layout.version} to {VERSIONS[name]}: {why}",
                hint=DOWN_AND_UP,
            )
