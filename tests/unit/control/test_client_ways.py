# SPDX-License-Identifier: Apache-2.0
"""Packets are told the way to nearly all clients as long as there is NAT, and of each change of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from tests.fakes import next_hop, until
from tests.unit.control.world import World
from xdplb.model.backend import Backend
from xdplb.model.next_hop import ClientWay
from xdplb.model.nic import DesiredNic
from xdplb.model.vip import Forward, Vip, VipKey

KEY = "203.0.113.10:80/tcp"
HOP = next_hop(ip_address("10.0.0.1"))
WAYS = {4: ClientWay(HOP, (ip_network("10.0.0.0/24"),)), 6: ClientWay(replace(HOP, ifindex=9))}


def test_packets_are_told_the_ways_by_nics_that_the_program_is_on(tmp_path: Path) -> None:
    world = World(tmp_path, nics=[DesiredNic("eth0", "auto")])

    async def scenario() -> None:
        async with world.running() as manager:
            world.hops.lead_clients(WAYS)
            await manager.create_vip(Vip(VipKey.parse(KEY)))
            assert not world.hops.watches_clients
            assert world.plane.client_ways == {}
            await manager.create_backend(KEY, Backend(ip_address("10.0.0.11"), forward=Forward.NAT))
            await until(lambda: world.plane.client_ways == {4: WAYS[4]})
            other = {4: replace(WAYS[4], others=())}
            world.hops.lead_clients(other)
            await until(lambda: world.plane.client_ways == other)
            world.hops.lead_clients({})
            await until(lambda: world.plane.client_ways == {})

    asyncio.run(scenario())
