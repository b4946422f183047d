# SPDX-License-Identifier: Apache-2.0
"""Observing the host, as input of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.nics import nics_out
from xdplb.control.plan.sources import Sources
from xdplb.control.writing.nics import NicKeeper
from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.backend import KnownHealth
from xdplb.model.hold import Hold
from xdplb.net.next_hops import NextHopSource

__all__ = ["observe"]


def observe(
    health: Mapping[int, KnownHealth],
    next_hops: NextHopSource,
    keeper: NicKeeper,
    *,
    path_mtus: Mapping[IPAddress, int],
    tunnel_sources: tuple[IPNetwork, ...],
    sources: Sources,
    ejected: Mapping[int, str],
    now: datetime,
    cuts: Mapping[int, datetime],
    holds: Mapping[int, Hold],
    has_peers: bool,
) -> Observed:
    """Return what is known now of all backends and of the NICs that the program is attached to; `health` is kept."""
    nics = {attachment.interface: attachment.ifindex for attachment in keeper.attachments}
    return Observed(
        health=health,
        next_hops=next_hops.known(),
        path_mtus=path_mtus,
        tunnel_sources=tunnel_sources,
        ifindexes=frozenset(nics.values()),
        nics_out=nics_out(keeper.standings),
        vlan=not next_hops.vlan_nics().isdisjoint(nics),
        sources=sources,
        ejected=ejected,
        now=now,
        cuts=cuts,
        holds=holds,
        has_peers=has_peers,
    )
