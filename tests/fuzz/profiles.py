# SPDX-License-Identifier: Apache-2.0
"""What the program is compiled for, how much its maps hold, and the NICs it sees."""

from __future__ import annotations

from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.plane import Capacity

__all__ = ["CAPACITY", "INGRESS", "OTHER_NIC", "PROFILES"]

CAPACITY = Capacity(vips=64, backends=255, flows=65536)

INGRESS = 1
"""What a test run comes in by, the loopback device; frames for it are sent by XDP_TX."""

OTHER_NIC = 2
"""An ifindex that frames may be redirected to. It stands for the loopback device, too: no test run sends anything."""

PROFILES: dict[str, Features] = {
    "everything": frozenset(Feature) - {Feature.CAPTURE},
    "nothing": frozenset(),
    "families": frozenset({Feature.IPV6, Feature.OUTER_IPV6, Feature.VLAN}),
    "choosing": frozenset({Feature.SCHEDULERS, Feature.QUIC, Feature.GUE}),
    "second": frozenset({Feature.SECOND_CHOICE}),
    "sharing": frozenset({Feature.IPV6, Feature.SYNC}),
    "guarding": frozenset({Feature.IPV6, Feature.WILDCARD, Feature.ACCESS, Feature.LIMITS}),
    "sampling": frozenset({Feature.IPV6, Feature.PASSIVE}),
    "nat": frozenset({Feature.IPV6, Feature.NAT, Feature.VLAN, Feature.WILDCARD}),
    "nat-direct": frozenset({Feature.IPV6, Feature.NAT, Feature.NAT_DIRECT}),
    "unwrapping": frozenset({Feature.IPV6, Feature.OUTER_IPV6, Feature.VLAN, Feature.GUE, Feature.DECAP}),
    "capturing": frozenset(Feature),
}
"""What the program is compiled for, by a name."""
