# SPDX-License-Identifier: Apache-2.0
"""The ports by which a NAT backend serves its VIP."""

from __future__ import annotations

from .backend import Backend
from .key import VipKey

__all__ = ["MOST_NAT_PORTS", "room_taken", "served_ports"]

MOST_NAT_PORTS = 64
"""The most ports of a range that NAT takes: the data plane has an entry for each port of each backend."""


def served_ports(key: VipKey, backend: Backend) -> range:
    """Return the backend's ports that serve those of the VIP, in the same order; as many, from its own port on."""
    if backend.port is None or key.port == 0:
        return key.ports
    return range(backend.port, backend.port + len(key.ports))


def room_taken(key: VipKey) -> int:
    """Return how many entries a backend of this VIP takes in the data plane: one for all ports, or one for each."""
    return len(key.protocol.numbers) * (1 if key.port == 0 else len(key.ports))
