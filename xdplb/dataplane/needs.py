"""Which features the VIPs and backends in the maps take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList
from xdplb.model.vip import NO_LIMITS, Forward

from . import layout
from .features import Feature, Features
from .plane import BackendEntry, VipEntry

__all__ = ["check_access", "check_needs", "needs_of_backend", "needs_of_values", "needs_of_vip"]


def needs_of_vip(vip: VipEntry) -> Features:
    """Return what the program must be compiled for with this VIP."""
    return _chosen(
        (Feature.IPV6, vip.key.address.version == 6),
        (Feature.WILDCARD, not vip.key.is_exact),
        (Feature.SCHEDULERS, vip.scheduler.is_per_connection),
        (Feature.QUIC, vip.quic is not None),
        (Feature.ACCESS, vip.has_access_list),
        (Feature.LIMITS, vip.limits != NO_LIMITS),
    )


def needs_of_backend(backend: BackendEntry) -> Features:
    """Return what the program must be compiled for with this backend."""
    tags = backend.next_hop.tags if backend.next_hop else ()
    return _chosen(
        (Feature.OUTER_IPV6, backend.address.version == 6 and backend.forward is not Forward.DR),
        (Feature.GUE, backend.forward is Forward.GUE),
        (Feature.VLAN, backend.keep_tags or tags != ()),
    )


def needs_of_values(values: NDArray[np.void]) -> Features:
    """Return what the program must be compiled for with these values of the `backends` map, shape (n,)."""
    forwards = values["forward"]
    tagged = layout.BACKEND_VLAN | layout.BACKEND_VLAN_KEEP
    return _chosen(
        (Feature.OUTER_IPV6, bool(np.isin(forwards, (layout.FORWARD_IPIP6, layout.FORWARD_GUE6)).any())),
        (Feature.GUE, bool(np.isin(forwards, (layout.FORWARD_GUE, layout.FORWARD_GUE6)).any())),
        (Feature.VLAN, bool((values["flags"] & tagged).any())),
    )


def check_needs(there: Features, needed: Iterable[Features]) -> None:
    """Raise ValueError where something needs a feature that was not required before."""
    missing = frozenset[Feature]().union(*needed) - there
    if missing:
        raise ValueError(f"the program is not compiled for {', '.join(sorted(missing))}: require it first")


def check_access(there: Features, lists: Mapping[int, AccessList]) -> None:
    """Raise ValueError where there are access lists and the feature was not required before."""
    check_needs(there, [frozenset({Feature.ACCESS})] if lists else [])


def _chosen(*features: tuple[Feature, bool]) -> Features:
    return frozenset(feature for feature, needed in features if needed)
