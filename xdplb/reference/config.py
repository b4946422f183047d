# SPDX-License-Identifier: Apache-2.0
"""What the control plane has written: the part of the maps that no packet changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import BackendEntry, Slots, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.decap import NO_DECAP, Decap
from xdplb.model.next_hop import NextHop

from .slot import Slot

__all__ = ["Config"]


@dataclass(frozen=True, slots=True)
class Config:
    """VIPs, their tables and access lists by VIP id, backends by their id.

    `suspects` are the ids of backends whose handshakes may not be answered. `features` are what the program was
    compiled for. `interfaces` are the NICs (ifindexes) that frames may be sent out by, besides the one they came in by.
    `max_backends` is the largest id there is room for.
    `shares` say which of the connections of a sampled VIP are sampled, by VIP id: those whose hash has a lower half
    below that number.
    `routes` are those of the host's kernel to the clients of NAT backends, None for those to whom it forwards nothing;
    a next hop without a MAC (b"") is one that the kernel has not found yet. That packets need not ask the kernel where
    nearly all clients have the same next hop changes nothing of what becomes of them.
    `decap` says which tunnels end at the balancer.
    """

    vips: Mapping[int, VipEntry]
    tables: Mapping[int, Slots]
    backends: Mapping[int, BackendEntry]
    features: Features
    access: Mapping[int, AccessList] = field(default_factory=dict)
    interfaces: frozenset[int] = frozenset()
    suspects: frozenset[int] = frozenset()
    max_backends: int = 0xFFFE
    shares: Mapping[int, int] = field(default_factory=dict)
    routes: Mapping[IPNetwork, NextHop | None] = field(default_factory=dict)
    decap: Decap = NO_DECAP

    def slot(self, vip_id: int, number: int) -> Slot:
        """Return a slot of a VIP's table; it has no owner if the VIP has no table."""
        table = self.tables.get(vip_id)
        return Slot.of(0 if table is None else int(table[number % TABLE_SIZE]))

    def route_to(self, client: IPAddress) -> NextHop | None:
        """Return the way that the kernel's routes give to this address, None if it would not forward packets there."""
        found = [network for network in self.routes if network.version == client.version and client in network]
        return self.routes[max(found, key=lambda network: network.prefixlen)] if found else None

    def is_usable(self, backend_id: int) -> bool:
        """Whether packets may be sent to this backend: it exists, is not down, and its next hop is known."""
        backend = self.backends.get(backend_id)
        return backend is not None and backend.usable and backend.next_hop is not None

    def is_current(self, backend_id: int, epoch: int) -> bool:
        """Whether a record for this backend is valid: it is usable, and its id was not given to another one since."""
        return self.is_usable(backend_id) and self.backends[backend_id].epoch == epoch
