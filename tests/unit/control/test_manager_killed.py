# SPDX-License-Identifier: Apache-2.0
"""A daemon killed at any step: state and maps agree once it runs again."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, WRITES, World, backend
from xdplb.balance.hashing import flow_hash, slot_of
from xdplb.balance.slots import unpack
from xdplb.control.edits.edit import PutConfig
from xdplb.control.writing.request import Request
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.layout import FLOW_RST
from xdplb.model.backend import Health
from xdplb.model.config import Config, DeclaredVip
from xdplb.model.errors import PlatformError, XdplbError
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip, VipKey

REFUSAL = PlatformError("the kernel has no memory for a table", hint="free some")


class KilledError(BaseException):
    """The process is no more: nothing may catch this and go on."""


@dataclass
class Fuse:
    """Kills the daemon at its n-th call that changes something, before or after the call does its work."""

    nth: int
    after: bool
    calls: int = 0
    is_dead: bool = False

    def around(self, call: Callable[[], Any]) -> Any:
        if self.is_dead:
            raise KilledError
        self.calls += 1
        if self.calls != self.nth:
            return call()
        self.is_dead = True
        if self.after:
            call()
        raise KilledError


class Mortal:
    """A data plane whose user dies as its fuse says."""

    def __init__(self, plane: FakePlane, fuse: Fuse) -> None:
        self._plane, self._fuse = plane, fuse

    def __getattr__(self, name: str) -> Any:
        target = getattr(self._plane, name)
        if name not in WRITES | {"delete_flows"}:
            return target
        return lambda *args: self._fuse.around(lambda: target(*args))


OTHER = Vip(VipKey.parse("203.0.113.13:53/udp"), name="new")


async def taken(door: Door, *vips: DeclaredVip) -> None:
    """Make these VIPs all that there are, which is one change however much it changes."""
    await door.manager.change(Request(edit=PutConfig(Config(vips), "/etc/xdplb/config.toml")))


CHANGES: list[Callable[[Door], Awaitable[object]]] = [
    lambda m: m.create_vip(WEB),
    lambda m: m.replace_backends("web", [backend(1), backend(2), backend(3)]),
    lambda m: m.create_vip(Vip(VipKey.parse("203.0.113.11:53/udp"), name="dns")),
    lambda m: m.create_backend("dns", backend(1)),
    lambda m: m.patch_backend("web", "10.0.0.1", {"weight": 5}),
    lambda m: m.drain("web", "10.0.0.2"),
    lambda m: m.put_health_check("web", HealthCheck()),
    lambda m: m.patch_vip("web", {"tracking": "always"}),
    lambda m: m.patch_vip("web", {"tracking": "auto"}),
    lambda m: m.replace_backends("web", [backend(1), backend(4), backend(5)]),
    lambda m: m.delete_vip("dns"),
    lambda m: m.create_vip(Vip(VipKey.parse("203.0.113.12:80/tcp"), name="new")),
    lambda m: taken(m, DeclaredVip("", WEB, backends=(backend(4, weight=2), backend(6))), DeclaredVip("", OTHER)),
]


async def live(world: World, changes: int, fuse: Fuse | None = None) -> int:
    """Make the first `changes` changes, with flows and time in between; return how many were acknowledged."""
    done = 0
    plane = world.plane
    world.plane = Mortal(plane, fuse) if fuse is not None else plane  # type: ignore[assignment]
    try:
        async with world.running() as manager:
            for change in CHANGES[:changes]:
                await change(manager)
                done += 1
                for port in range(3000, 3020):
                    plane.add_flow("198.51.100.7", port, WEB.key, backend=1, flags=FLOW_RST if port % 2 else 1)
                world.clock.advance(25)
                await asyncio.sleep(0.012)
    except (KilledError, XdplbError):
        assert fuse is not None
    finally:
        world.plane = plane
    return done


def maps(world: World) -> object:
    plane = world.plane
    vips = plane.read_vips()
    owners = {vip_id: unpack(world.table(vip_id))[0].tobytes() for vip_id in vips}
    orphans = [vip_id for vip_id in range(8) if vip_id not in vips and plane.read_table(vip_id) is not None]
    return vips, plane.read_backends(), owners, orphans


def no_records_in_steady_slots(world: World) -> bool:
    flows, slots = world.plane.scan_flows(), world.table()
    of = slot_of(flow_hash(flows.source[:, 1], flows.source_port, flows.destination_port))
    return not np.any(slots[of] >> 16 == 0)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_step_state_and_maps_agree_after_a_restart(tmp_path: Path, *, after: bool) -> None:
    async def scenario() -> None:
        wanted = []
        for changes in range(len(CHANGES) + 1):
            reference = World(tmp_path / f"reference-{changes}")
            await live(reference, changes)
            wanted.append(maps(reference))
        nth, died = 0, True
        while died:
            nth += 1
            world, fuse = World(tmp_path / f"killed-{nth}"), Fuse(nth, after)
            done = await live(world, len(CHANGES), fuse)
            died = fuse.is_dead
            async with world.running() as manager:
                assert manager.status().last_error == ""
                assert maps(world) in wanted[done : done + 2], f"killed at call {nth}"
                if any(view.vip.name == "web" and view.vip.tracking == "auto" for view in manager.vips()):
                    await until(functools.partial(no_records_in_steady_slots, world))
        assert nth > 20

    asyncio.run(scenario())


def test_health_that_flipped_before_a_kill_is_there_or_unknown_to_the_maps_too(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        async with world.running() as manager:
            await manager.create_vip(WEB)
            await manager.put_health_check("web", HealthCheck())
            await manager.replace_backends("web", [backend(1), backend(2)])
            for last in (1, 2):
                world.health.flip(f"10.0.0.{last}", Health.UP)
            await until(lambda: all(view.share for view in manager.backends("web")))
            world.plane.fail("write_table", REFUSAL, times=1000)
            world.health.flip("10.0.0.2", Health.DOWN)
            await asyncio.sleep(0.05)
        world.plane.failures.clear()
        async with world.running() as manager:
            down = manager.backend("web", "10.0.0.2")
            assert (down.health, down.share) == (Health.DOWN, 0.0)

    asyncio.run(scenario())
