# SPDX-License-Identifier: Apache-2.0
"""Which features the VIPs and backends in the maps need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList
from xdplb.model.vip import NO_LIMITS, Forward, HashKind

from . import backend_codec
from .features import Feature, Features
from .plane import BackendEntry, VipEntry

__all__ = ["BACKEND_NEEDS", "VIP_NEEDS", "check_access", "check_needs", "needs_of", "needs_of_values"]

VIP_NEEDS: Mapping[Feature, Callable[[VipEntry], bool]] = {
    Feature.IPV6: lambda vip: vip.key.address.version == 6,
    Feature.WILDCARD: lambda vip: not vip.key.is_exact,
    Feature.SCHEDULERS: lambda vip: vip.scheduler.is_per_connection,
    Feature.QUIC: lambda vip: vip.quic is not None,
    Feature.ACCESS: lambda vip: vip.has_access_list,
    Feature.LIMITS: lambda vip: vip.limits != NO_LIMITS,
    Feature.PASSIVE: lambda vip: vip.is_sampled,
    Feature.SECOND_CHOICE: lambda vip: vip.second_choice,
    Feature.REJECT: lambda vip: vip.rejects,
    Feature.HASH: lambda vip: vip.hash in (HashKind.DESTINATION_PORT, HashKind.ADDRESSES),
}
"""What the program must be compiled for with a VIP of which this is true."""

BACKEND_NEEDS: Mapping[Feature, Callable[[BackendEntry], bool]] = {
    Feature.OUTER_IPV6: lambda backend: backend.address.version == 6 and backend.forward.is_tunnel,
    Feature.GUE: lambda backend: backend.forward is Forward.GUE,
    Feature.NAT: lambda backend: backend.forward is Forward.NAT,
    Feature.NAT_DIRECT: lambda backend: backend.nat is not None and backend.nat.direct != (),
    Feature.VLAN: lambda backend: backend.keep_tags or (backend.next_hop is not None and backend.next_hop.tags != ()),
}
"""The same of a backend."""


def needs_of(vips: Iterable[VipEntry] = (), backends: Iterable[BackendEntry] = ()) -> Features:
    """Return what the program must be compiled for with these VIPs and backends."""
    needed: set[Feature] = set()
    for vip in vips:
        needed.update(feature for feature, is_needed in VIP_NEEDS.items() if is_needed(vip))
    for backend in backends:
        needed.update(feature for feature, is_needed in BACKEND_NEEDS.items() if is_needed(backend))
    return _only(frozenset(needed))


@cache
def _only(features: Features) -> Features:
    """Return the one set that is equal to this one: each of thousands of backends has one, and few are different."""
    return features


def needs_of_values(values: NDArray[np.void]) -> Features:
    """Return what the program must be compiled for with these values of the `backends` map, shape (n,).

    Which networks are answered as they are is not in them.
    """
    # One of each kind will do: thousands of backends have few ways of forwarding between them.
    _, kinds = np.unique(values[["forward", "flags"]], return_index=True)
    there = [number for number in kinds.tolist() if values["forward"][number]]
    return needs_of(backends=(backend_codec.decode(number, values[number : number + 1]) for number in there))


def check_needs(there: Features, needed: Features) -> None:
    """Raise ValueError if something needs a feature that was not required before."""
    missing = needed - there
    if missing:
        raise ValueError(f"the program is not compiled for {', '.join(sorted(missing))}: require it first")


def check_access(there: Features, lists: Mapping[int, AccessList]) -> None:
    """Raise ValueError if there are access lists and the feature was not required before."""
    check_needs(there, frozenset({Feature.ACCESS}) if lists else frozenset())
