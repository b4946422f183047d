# SPDX-License-Identifier: Apache-2.0
"""Whose packet an ICMP error quotes, where the flow's hash fills a part of the outer source."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.fakes import next_hop
from xdplb.control.paths.sent import SentPackets
from xdplb.control.paths.tunnel import Tunnel
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.vip import Forward, VipKey
from xdplb.net.icmp_message import Quote

VIP = VipEntry(3, VipKey.parse("203.0.113.10:80/tcp"), track_always=False, idle_seconds=60)


def sent(address: str, source: str, mask: int) -> SentPackets:
    """Return what is sent to one backend by IPIP, from sources in a prefix."""
    to, first = ip_address(address), ip_address(source)
    hop = replace(next_hop(to), source=first)
    entry = BackendEntry(1, 0, VIP.id, to, Forward.IPIP, usable=True, next_hop=hop, source=first, source_mask=mask)
    return SentPackets({1: entry}, {VIP.id: VIP})


@pytest.mark.parametrize(
    ("backend", "prefix", "mask", "source", "ours"),
    [
        ("10.0.1.3", "172.16.0.0", 0xFFFF, "172.16.0.0", True),
        ("10.0.1.3", "172.16.0.0", 0xFFFF, "172.16.255.255", True),
        ("10.0.1.3", "172.16.0.0", 0xFFFF, "172.17.0.0", False),
        ("2001:db8:1::3", "2001:db8:5::", 0xFFFFFFFF, "2001:db8:5::abcd:ef01", True),
        ("2001:db8:1::3", "2001:db8:5::", 0xFFFFFFFF, "2001:db8:5::1:abcd:ef01", False),
        ("2001:db8:1::3", "2001:db8:5::", 0xFFFFFFFF, "2001:db8:6::abcd:ef01", False),
    ],
)
def test_the_source_is_one_of_the_prefix(backend: str, prefix: str, mask: int, source: str, ours: bool) -> None:
    quote = Quote(ip_address(source), ip_address(backend), length=1500, protocol=4)
    assert sent(backend, prefix, mask).find(quote) == (Tunnel(ip_address(backend), 4) if ours else None)


def test_nothing_is_sent_without_a_next_hop() -> None:
    address = ip_address("10.0.1.3")
    entry = BackendEntry(1, 0, VIP.id, address, Forward.IPIP, usable=False, next_hop=None)
    quote = Quote(next_hop(address).source, address, length=1500, protocol=4)
    assert SentPackets({1: entry}, {VIP.id: VIP}).find(quote) is None
