# SPDX-License-Identifier: Apache-2.0
"""What comes of changes: what the maps hold, and what the manager says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run_in, with_backends
from xdplb.control.plan.operating import OperatingStatus
from xdplb.dataplane.plane import BackendCounters, Capacity, VipCounters
from xdplb.model.backend import AdminState
from xdplb.model.vip import Forward, Protocol, Scheduler, Tracking


def test_replacing_keeps_the_ids_of_those_that_stay_and_gives_new_epochs(tmp_path: Path) -> None:
    world = World(tmp_path, Capacity(backends=3))

    async def scenario(manager: Door) -> None:
        await with_backends(manager, 1, 2, 3)
        views = await manager.replace_backends("web", [backend(2), backend(8), backend(9)])
        assert isinstance(views, list)
        assert [str(view.backend.address) for view in views] == ["10.0.0.2", "10.0.0.8", "10.0.0.9"]
        held = {entry.id: (str(entry.address), entry.epoch) for entry in world.plane.read_backends().values()}
        assert held == {2: ("10.0.0.2", 0), 1: ("10.0.0.8", 1), 3: ("10.0.0.9", 1)}
        assert sum(view.share for view in manager.backends("web")) == 1.0

    run_in(world, scenario)


def test_removing_a_vip_leaves_nothing_in_the_maps(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.delete_vip("web")
        plane = world.plane
        assert (plane.read_vips(), plane.read_backends(), plane.read_table(0)) == ({}, {}, None)
        assert manager.vips() == []
        assert manager.dataplane().vips.used == manager.dataplane().backends.used == 0

    run_in(world, scenario)


def test_status_tells_how_many_of_those_asked_for_serve(tmp_path: Path) -> None:
    async def scenario(manager: Door) -> None:
        await manager.create_vip(WEB)
        seen = [manager.vip("web").operating_status]
        for last in (1, 2, 3):
            await manager.create_backend("web", backend(last))
        seen.append(manager.vip("web").operating_status)
        await manager.patch_backend("web", "10.0.0.3", {"admin_state": "maint"})
        seen.append(manager.vip("web").operating_status)
        await manager.replace_backends("web", [backend(3, admin_state=AdminState.MAINT)])
        seen.append(manager.vip("web").operating_status)
        status = OperatingStatus
        assert seen == [status.NO_BACKEND, status.ONLINE, status.ONLINE, status.OFFLINE]

    run_in(World(tmp_path), scenario)


def test_counters_are_told_by_vip_backend_and_reason(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(manager: Door) -> None:
        await with_backends(manager, 1)
        world.plane.count_vip(0, VipCounters(packets=10, bytes=1000, new_flows=3, at_risk=1))
        world.plane.count_backend(1, BackendCounters(packets=9, bytes=900, new_flows=3))
        world.plane.count_reason("drop_no_backend", 4)
        world.plane.count_reason("pass_no_vip", 5)
        stats = await manager.stats()
        assert stats.vips == (await manager.vip_stats("web"),)
        vip = stats.vips[0]
        assert (vip.packets, vip.bytes, vip.new_flows, vip.at_risk) == (10, 1000, 3, 1)
        assert [(part.backend, part.packets) for part in vip.backends] == [("10.0.0.1", 9)]
        assert (stats.drops["no_backend"], stats.passes["no_vip"]) == (4, 5)

    run_in(world, scenario)


def test_a_backend_can_have_its_own_forward_and_a_vip_every_option(tmp_path: Path) -> None:
    world = World(tmp_path)
    vip = replace(WEB, tracking=Tracking.ALWAYS, forward=Forward.IPIP, scheduler=Scheduler.MAGLEV)

    async def scenario(manager: Door) -> None:
        await manager.create_vip(vip)
        await manager.create_backend("web", backend(1))
        await manager.create_backend("web", backend(2, forward=Forward.DR))
        assert [view.forward for view in manager.backends("web")] == [Forward.IPIP, Forward.DR]
        assert [entry.forward for entry in world.plane.read_backends().values()] == [Forward.IPIP, Forward.DR]
        assert world.plane.read_vips()[0].track_always
        assert manager.vip("web").vip.key.protocol is Protocol.TCP

    run_in(world, scenario)
