"""What the packet path must be able to do: a pure function of what was asked and what was seen."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.control.plan.eligibility import Observed
from xdplb.control.state.snapshot import BoundVip, Snapshot
from xdplb.dataplane.features import Feature, Features
from xdplb.model.backend import Backend
from xdplb.model.vip import NO_LIMITS, Forward, VlanTags

__all__ = ["features_needed"]


def features_needed(state: Snapshot, observed: Observed) -> Features:
    """Return the features without which some packet of these VIPs would not go where it should."""
    needed = {feature for vip in state.vips.values() for feature in _of_vip(vip)}
    hops = (resolution.next_hop for resolution in observed.next_hops.values())
    if observed.vlan or any(hop is not None and hop.tags for hop in hops):
        needed.add(Feature.VLAN)
    return frozenset(needed)


def _of_vip(record: BoundVip) -> Iterator[Feature]:
    vip = record.vip
    needs = {
        Feature.IPV6: vip.key.address.version == 6,
        Feature.WILDCARD: not vip.key.is_exact,
        Feature.SCHEDULERS: vip.scheduler.is_per_connection,
        Feature.QUIC: vip.quic is not None,
        Feature.ACCESS: bool(record.access),
        Feature.LIMITS: vip.limits != NO_LIMITS,
        Feature.VLAN: vip.vlan is VlanTags.KEEP,
    }
    yield from (feature for feature, is_needed in needs.items() if is_needed)
    for backend in record.backends.values():
        yield from _of_backend(record, backend.backend)


def _of_backend(record: BoundVip, backend: Backend) -> Iterator[Feature]:
    forward = record.forward_of(backend)
    if forward is Forward.GUE:
        yield Feature.GUE
    if forward is not Forward.DR and backend.address.version == 6:
        yield Feature.OUTER_IPV6
