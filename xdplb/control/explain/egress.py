# SPDX-License-Identifier: Apache-2.0
"""How a packet is sent, read from the frame that the reference model produced."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from xdplb.control.explain.views import NextHopView, OuterView, SentView
from xdplb.dataplane.plane import BackendEntry
from xdplb.model.address import IPAddress
from xdplb.model.vip import Forward

__all__ = ["sent_view"]

MACS, TYPE, TAG = 12, 2, 4
TAG_TYPES = {b"\x81\x00", b"\x88\xa8"}
VLAN_ID = 0x0FFF


def sent_view(
    frame: bytes, backend: BackendEntry, interfaces: Mapping[int, str], gateway: IPAddress | None
) -> SentView:
    """Return the frame's outer header and next hop; `interfaces` are NIC names by ifindex."""
    hop = backend.next_hop
    assert hop is not None, "it was sent"
    tags = list(_tags(frame))
    network = frame[MACS + TAG * len(tags) + TYPE :]
    return SentView(
        forward=backend.forward,
        outer=_outer(network, backend.forward) if backend.forward.is_tunnel else None,
        next_hop=NextHopView(
            mac=frame[:6].hex(":"),
            interface=interfaces.get(hop.ifindex, f"NIC {hop.ifindex}"),
            gateway=gateway,
            mtu=hop.mtu,
            tags=tuple(tags),
        ),
    )


def _tags(frame: bytes) -> list[int]:
    tags, at = [], MACS
    while frame[at : at + TYPE] in TAG_TYPES:
        tags.append(int.from_bytes(frame[at + TYPE : at + TAG], "big") & VLAN_ID)
        at += TAG
    return tags


def _outer(network: bytes, forward: Forward) -> OuterView:
    first, last, header = (12, 16, 20) if network[0] >> 4 == 4 else (8, 24, 40)
    source, destination = network[first:last], network[last : 2 * last - first]
    ports: tuple[int | None, int | None] = (None, None)
    if forward is Forward.GUE:
        udp = network[header : header + 4]
        ports = int.from_bytes(udp[:2], "big"), int.from_bytes(udp[2:], "big")
    return OuterView(ip_address(source), ip_address(destination), *ports)
