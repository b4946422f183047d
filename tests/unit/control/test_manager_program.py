# SPDX-License-Identifier: Apache-2.0
"""What the manager has the program compiled for, and when."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.fakes import next_hop, until
from tests.unit.control.door import Door, DryRun
from tests.unit.control.world import World, run, with_backends
from xdplb.balance.slots import unpack
from xdplb.dataplane.features import Feature, Features
from xdplb.model.backend import Backend, Health
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.model.health import HealthCheck
from xdplb.model.next_hop import NextHop, Resolution, VlanTag
from xdplb.model.vip import Forward, Vip, VipKey

WEB6 = Vip(VipKey.parse("[2001:db8::10]:443/tcp"), name="web6", forward=Forward.IPIP)


def test_the_program_gets_what_a_change_needs_and_keeps_it(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        assert world.plane.features == frozenset()
        await manager.create_vip(WEB6)
        assert world.plane.features == {Feature.IPV6}
        await manager.create_backend("web6", Backend(ip_address("2001:db8:1::1")))
        assert world.plane.features == {Feature.IPV6, Feature.OUTER_IPV6}
        await manager.delete_vip("web6")
        assert manager.dataplane().features == {Feature.IPV6, Feature.OUTER_IPV6}

    run(tmp_path, scenario)


def test_what_the_program_cannot_be_compiled_for_changes_nothing(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        before, writes = manager.status(), world.writes()
        world.plane.fail("require", PlatformError("the verifier refuses the program", hint="report it"))
        with pytest.raises(PlatformError, match="the verifier refuses") as raised:
            await manager.patch_vip("web", {"scheduler": "rr"})
        assert "kept" not in raised.value.detail
        assert (manager.status(), world.writes()) == (before, writes)
        await manager.patch_vip("web", {"scheduler": "rr"})
        assert world.plane.features == {Feature.SCHEDULERS}

    run(tmp_path, scenario, scans=False)


def test_while_it_is_compiled_all_else_goes_on(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.put_health_check("web", HealthCheck())
        begun, done = threading.Event(), threading.Event()
        require = world.plane.require

        def slowly(features: Features) -> None:
            if not features <= world.plane.features:
                begun.set()
                assert done.wait(10)
            require(features)

        world.plane.require = slowly  # type: ignore[method-assign]
        adding = asyncio.create_task(manager.create_vip(WEB6))
        await until(begun.is_set)
        world.health.flip("10.0.0.1", Health.DOWN)
        await until(lambda: set(unpack(world.table())[0].tolist()) == {2})
        await manager.patch_vip("web", {"name": "www"})
        assert len(manager.vips()) == 1
        done.set()
        await adding
        assert [view.vip.name for view in manager.vips()] == ["www", "web6"]
        assert world.plane.features == {Feature.IPV6}

    run(tmp_path, scenario)


def test_what_makes_a_change_impossible_meanwhile_is_seen(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        require = world.plane.require

        def renaming(features: Features) -> None:
            if not features <= world.plane.features:
                asyncio.run_coroutine_threadsafe(manager.patch_vip("web", {"name": "web6"}), loop).result(10)
            require(features)

        loop = asyncio.get_running_loop()
        world.plane.require = renaming  # type: ignore[method-assign]
        with pytest.raises(ConflictError, match="web6"):
            await manager.create_vip(WEB6)
        assert len(manager.vips()) == 1

    run(tmp_path, scenario)


def test_a_dry_run_says_that_the_program_is_recompiled(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        outcome = await manager.create_vip(WEB6, dry_run=True)
        assert isinstance(outcome, DryRun)
        assert any("recompiled with ipv6" in sentence for sentence in outcome.changes)
        assert world.plane.features == frozenset()

    run(tmp_path, scenario)


def test_vlans_on_our_nics_and_tags_on_the_way_are_noticed(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        world.hops.carry_vlans("eth7")
        world.hops.carry_vlans("eth0")
        await until(lambda: world.plane.features == {Feature.VLAN})
        world.hops.set("10.0.0.1", Resolution(_tagged(VlanTag(7))))
        await until(lambda: world.plane.read_backends()[1].next_hop.tags == (VlanTag(7),))  # type: ignore[union-attr]

    run(tmp_path, scenario)


def _tagged(*tags: VlanTag) -> NextHop:
    return replace(next_hop(ip_address("10.0.0.1")), tags=tags)


def test_more_tags_than_can_be_written_keep_a_backend_out_with_a_reason(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        world.hops.set("10.0.0.1", Resolution(_tagged(*[VlanTag(7)] * 3)))
        await until(lambda: "VLAN tags" in manager.backend("web", "10.0.0.1").reason)

    run(tmp_path, scenario)


def test_next_hops_of_both_families_may_change_at_once(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, vip=WEB6)
        await manager.create_backend("web6", Backend(ip_address("2001:db8:1::1")))
        world.hops.lose("10.0.0.1", "2001:db8:1::1")
        await until(lambda: all("does not answer" in view.reason for view in manager.backends("web6")))

    run(tmp_path, scenario)
