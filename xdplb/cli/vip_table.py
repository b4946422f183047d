# SPDX-License-Identifier: Apache-2.0
"""VIPs of the API as a table, and their keys as text."""

from __future__ import annotations

from collections.abc import Sequence

from xdplb.client.bodies import NodeOut, VipOut, VipStatusOut

from .node_generations import NODES, nodes_cell
from .output import Column, coloured, table

__all__ = ["announced_text", "print_vips", "vip_text"]

_COLUMNS = [
    Column("VIP"),
    Column("NAME"),
    Column("FORWARD"),
    Column("STATUS", style=coloured),
    Column("SERVING", right=True),
    Column("ANNOUNCED"),
    Column("SCHEDULER", wide=True),
    Column("TRACKING", wide=True),
    Column("GENERATION", right=True, wide=True),
]


def print_vips(vips: Sequence[VipOut], nodes: Sequence[NodeOut] = ()) -> None:
    """Print VIPs of the API as a table. If there are several `nodes` with one store, it says which have which."""
    rows: list[tuple[object, ...]] = [
        (
            vip_text(vip),
            vip["name"],
            vip["forward"],
            vip["status"]["operating_status"],
            _serving_cell(vip["status"]),
            announced_word(vip["status"]),
            vip["scheduler"],
            vip["tracking"],
            vip["generation"],
            *([nodes_cell(vip["generation"], nodes)] if nodes else ()),
        )
        for vip in vips
    ]
    table([*_COLUMNS, *([NODES] if nodes else ())], rows)


def _serving_cell(status: VipStatusOut) -> str:
    """Return how many backends serve of how many, and how many must if that is more."""
    text = f"{status['backends_serving']}/{status['backends']}"
    return text if status.get("min_serving_met", True) else f"{text} ({status['backends_needed']} must)"


def announced_word(status: VipStatusOut) -> str | None:
    """Return in a word whether a VIP is announced, None if it asks for no route."""
    announced = status.get("announced")  # an older daemon has none
    if announced is None:
        return None
    if announced["metric"] is None:
        return "no"
    return "yes" if not announced["reason"] else "draining"


def announced_text(status: VipStatusOut) -> str | None:
    """Return whether a VIP is announced, and why not or why so."""
    announced, word = status.get("announced"), announced_word(status)
    if announced is None or not announced["reason"]:
        return word
    metric = "" if announced["metric"] is None else f", metric {announced['metric']}"
    return f"{word}{metric}: {announced['reason']}"


def vip_text(vip: VipOut) -> str:
    """Return the key of a VIP of the API, as people write it."""
    host = f"[{vip['address']}]" if ":" in vip["address"] else vip["address"]
    ports = vip["port"] if vip["last_port"] is None else f"{vip['port']}-{vip['last_port']}"
    return f"{host}:{ports}/{vip['protocol']}"
