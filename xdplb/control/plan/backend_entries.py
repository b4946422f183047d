# SPDX-License-Identifier: Apache-2.0
"""The map entries of backends: a pure function of the desired state and of what was observed."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from xdplb.balance.ramp import Newcomer, parts_of
from xdplb.control.plan.eligibility import Eligibility, Observed, Use, can_be_tagged
from xdplb.control.plan.path_mtu import least_mtu, outer_mtu
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.plane import BackendEntry, NatWay
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.nat import served_ports
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward, Vip, VlanTags

__all__ = ["backend_entry", "load_weight"]

_LARGEST_MTU = 0xFFFF
_LAST_WORD = 0xFFFFFFFF  # the flow's hash fills at most the last 32 bits of an IPv6 source


def backend_entry(
    vip: BoundVip, bound: BoundBackend, standing: Eligibility, observed: Observed, weight: int
) -> BackendEntry:
    """Return the map entry of a backend, exactly as it would be read back from the maps.

    `weight` is what `load_weight` returns for it.
    """
    backend, forward = bound.backend, vip.forward_of(bound.backend)
    next_hop = _next_hop(observed, backend.address)
    network = observed.tunnel_source(backend.address.version)
    source: IPAddress | None = None
    mask = 0
    nat = _nat_way(vip.vip, backend) if forward is Forward.NAT else None
    if next_hop is not None and nat is not None:
        next_hop = replace(next_hop, source=nat.vip)
    elif next_hop is not None and forward is not Forward.DR:
        least = least_mtu(backend.address.version, forward, vip.vip.key.address.version)
        told = observed.path_mtu(backend.address)
        next_hop = replace(next_hop, mtu=outer_mtu(next_hop.mtu, told, least))
        if network is None:
            leaving = observed.sources.of_tunnel(backend.address, observed.next_hops[backend.address])
            next_hop = replace(next_hop, source=leaving.address or next_hop.source)
        else:
            mask = int(network.hostmask) & _LAST_WORD
            next_hop = replace(next_hop, source=network.network_address)
            source = next_hop.source if mask else None
    return BackendEntry(
        id=bound.id,
        epoch=bound.epoch,
        vip_id=vip.id,
        address=backend.address,
        forward=forward,
        usable=standing.use is not Use.OUT,
        next_hop=next_hop,
        source=source,
        source_mask=mask,
        inner_version=vip.vip.key.address.version,
        keep_tags=vip.vip.vlan is VlanTags.KEEP,
        weight=weight,
        quic_server_id=None if backend.quic_server_id is None else bytes.fromhex(backend.quic_server_id),
        takes_new=standing.use is Use.SERVING,
        max_new_flows=backend.max_new_flows,
        nat=nat,
    )


def _nat_way(vip: Vip, backend: Backend) -> NatWay:
    """Return what a backend's packets are rewritten to. For all ports, none is changed."""
    key = vip.key
    ports = served_ports(key, backend)
    shift = (ports[0] - key.ports[0]) % 2**16
    first, last = (0, 0) if key.port == 0 else (ports[0], ports[-1])
    return NatWay(key.address, shift, first, last, key.protocol.numbers, vip.nat_direct)


def load_weight(vip: BoundVip, weight: int, newcomer: Newcomer | None) -> int:
    """Return what the load of a backend with this weight, in parts as of `weight_of`, is divided by to be compared.

    With slow start it is in parts of a weight, so that a newcomer can have fewer of them than its weight has, and no
    other entry changes by that.
    """
    weight = max(1, weight) if vip.vip.scheduler.weighs_load else 1
    if not (vip.vip.slow_start_seconds and vip.vip.scheduler.is_by_load):
        return weight
    parts = parts_of(vip.vip.slow_start_seconds)
    return weight * parts if newcomer is None else max(1, weight * parts * newcomer.granted // newcomer.of)


def _next_hop(observed: Observed, address: IPAddress) -> NextHop | None:
    """Return the next hop without the fields that the maps do not hold, None if it is unknown or cannot be tagged."""
    resolution = observed.next_hop(address)
    if resolution is None or resolution.next_hop is None or not can_be_tagged(resolution.next_hop):
        return None
    return _as_held(resolution.next_hop)


@lru_cache(1 << 12)
def _as_held(next_hop: NextHop) -> NextHop:
    """Return the next hop as it is read back: a host is a backend of many VIPs, and this is the same for all."""
    return replace(next_hop, interface="", gateway=None, mtu=min(next_hop.mtu, _LARGEST_MTU))
