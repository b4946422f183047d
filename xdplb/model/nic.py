# SPDX-License-Identifier: Apache-2.0
"""A NIC as it is asked for, and as the kernel has it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DesiredNic", "NicLink"]


@dataclass(frozen=True, slots=True)
class DesiredNic:
    """A NIC that `xdplb up` was told to balance on; `mode` is native, skb or auto.

    It belongs to this host: other balancers with the same VIPs have NICs of their own.
    """

    name: str
    mode: str


@dataclass(frozen=True, slots=True)
class NicLink:
    """What the kernel says about an interface.

    `up`: it is administratively up; `carrier`: its link works. `mtu` is in bytes without the Ethernet header. `xdp_id`
    is the program on it, 0 for none. `master` is the bond, bridge or VRF that it is a port of, "" for none, and
    `master_kind` says which of them.
    """

    name: str
    ifindex: int
    mtu: int
    up: bool
    carrier: bool
    ethernet: bool
    xdp_id: int = 0
    master: str = ""
    master_kind: str = ""
