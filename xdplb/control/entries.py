"""Backends as the maps take them: a pure function of what was asked and what was seen."""

from __future__ import annotations

from dataclasses import replace

from xdplb.control.eligibility import Observed, Use, Verdict
from xdplb.control.records import BackendRecord, VipRecord
from xdplb.dataplane.plane import BackendEntry
from xdplb.model.address import IPAddress
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward

__all__ = ["backend_entry"]

_LARGEST_MTU = 0xFFFF


def backend_entry(vip: VipRecord, record: BackendRecord, verdict: Verdict, observed: Observed) -> BackendEntry:
    """Return the entry of a backend, exactly as it would be read back from the maps."""
    forward = vip.forward_of(record.backend)
    resolution = observed.next_hops.get(record.backend.address)
    next_hop = None if resolution is None or resolution.next_hop is None else _as_held(resolution.next_hop)
    source: IPAddress | None = None
    mask = 0
    if next_hop is not None and forward is Forward.IPIP and observed.ipip_source is not None:
        mask = int(observed.ipip_source.hostmask)
        next_hop = replace(next_hop, source=observed.ipip_source.network_address)
        source = next_hop.source if mask else None
    return BackendEntry(
        id=record.id,
        epoch=record.epoch,
        vip_id=vip.id,
        address=record.backend.address,
        forward=forward,
        usable=verdict.use is not Use.OUT,
        next_hop=next_hop,
        source=source,
        source_mask=mask,
    )


def _as_held(next_hop: NextHop) -> NextHop:
    """Return the next hop without what the maps do not hold."""
    return replace(next_hop, interface="", gateway=None, mtu=min(next_hop.mtu, _LARGEST_MTU))
