# SPDX-License-Identifier: Apache-2.0
"""What follows from handshakes that go unanswered: over a fake data plane, whose sample a test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World
from xdplb.control.answers.views import BackendView
from xdplb.control.events import BackendEjected, BackendNotEjected, BackendReturned, Event, HandshakesNotRead
from xdplb.control.health.passive.shares import ALL
from xdplb.control.writing import passive_watch
from xdplb.control.writing.passive_watch import PassiveWatch
from xdplb.dataplane import layout
from xdplb.dataplane.features import Feature
from xdplb.model.backend import Backend, Health
from xdplb.model.errors import InvalidError, PlatformError
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.vip import Passive, Vip, VipKey

pytestmark = pytest.mark.anyio

BACKENDS = ("10.0.0.11", "10.0.0.12", "10.0.0.13")
PERIOD = "_PERIOD_SECONDS"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host that runs nothing yet."""
    return World(tmp_path / "state.db")


def watch_of(door: Door) -> PassiveWatch:
    """Return the part of the manager that is tested, so that a test takes its turns by hand."""
    return door.manager._passive


@asynccontextmanager
async def balanced(world: World, passive: Passive, backends: tuple[str, ...] = BACKENDS) -> AsyncIterator[Door]:
    """Run a manager with one VIP whose backends are all known and up."""
    async with world.running() as door:
        if not door.vips():
            await door.create_vip(replace(WEB, passive=passive))
            for address in backends:
                await door.create_backend("web", Backend(ip_address(address)))
        yield door


def ids(door: Door) -> dict[str, tuple[int, int]]:
    """Return id and epoch of each backend, by address."""
    (vip,) = door.manager._writer.snapshot.vips.values()
    return {str(address): (bound.id, bound.epoch) for address, bound in vip.backends.items()}


def handshakes(world: World, door: Door, dead: set[str], *, rate: int = 100, seconds: float = 3.0) -> None:
    """Write connections of the last seconds, of 20 clients; those of the last second at `dead` are unanswered."""
    now, places = world.clock.monotonic(), ids(door)
    count = int(rate * seconds)
    rows = np.zeros(count, layout.HANDSHAKE)
    for number in range(count):
        began = now - seconds + number / rate
        address = list(places)[number % len(places)]
        answered = address not in dead or began < now - 1.0
        rows[number] = (number + 2, 0, 1 + number % 20, int(began * 1e9), int(now * 1e9), 0, *places[address], 0, 0)
        rows[number]["flags"] = layout.HANDSHAKE_ANSWERED if answered else 0
    world.plane.handshakes = rows


def view_of(door: Door) -> BackendView:
    """Return the view of the backend that the tests let die."""
    return next(one for one in door.backends("web") if str(one.backend.address) == "10.0.0.11")


def heard(door: Door) -> list[Event]:
    events: list[Event] = []
    door.manager.events.listen(events.append)
    return events


def owners(world: World) -> set[int]:
    """Return which backends own slots."""
    return set((world.table() & 0xFFFF).tolist())


def of(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


async def test_a_backend_that_stops_answering_gets_no_new_connections(world: World) -> None:
    async with balanced(world, Passive.EJECT) as door:
        events = heard(door)
        dead = ids(door)["10.0.0.11"][0]
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        await until(lambda: dead not in owners(world))
        assert Feature.PASSIVE in world.plane.features
        (told,) = of(events, BackendEjected)
        assert (told.backend, told.seconds, told.times) == ("10.0.0.11", 30, 1)
        await until(lambda: view_of(door).reason)
        view = view_of(door)
        assert view.reason.startswith("ejected for 30 s: ")
        assert view.reason.endswith("peers answer 100 %")
        assert view.health == "up"
        # Its open connections stay: its slots move, and what has no record goes to the previous owner.
        assert dead in set((world.table() >> 16).tolist())


async def test_it_returns_by_itself(world: World) -> None:
    async with balanced(world, Passive.EJECT) as door:
        events = heard(door)
        dead = ids(door)["10.0.0.11"][0]
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        await until(lambda: dead not in owners(world))
        world.clock.seconds += 31
        await watch_of(door).turn()
        await until(lambda: dead in owners(world))
        assert [told.reason for told in of(events, BackendReturned)] == ["its 30 s are over"]
        await until(lambda: not view_of(door).reason)
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        assert [told.seconds for told in of(events, BackendEjected)] == [30, 60]


async def test_observe_tells_and_ejects_nobody(world: World) -> None:
    async with balanced(world, Passive.OBSERVE) as door:
        events = heard(door)
        handshakes(world, door, {"10.0.0.11"})
        for _ in range(3):
            await watch_of(door).turn()
        (told,) = of(events, BackendNotEjected)
        assert told.backend == "10.0.0.11"
        assert told.reason.endswith("; the VIP's passive is observe")
        assert not of(events, BackendEjected)
        assert len(owners(world)) == 3


async def test_never_more_than_half(world: World) -> None:
    async with balanced(world, Passive.EJECT) as door:
        events = heard(door)
        for _ in range(3):
            handshakes(world, door, {"10.0.0.11", "10.0.0.12"}, rate=600)
            await watch_of(door).turn()
            await asyncio.sleep(0.02)
        assert len(of(events, BackendEjected)) == 1
        assert of(events, BackendNotEjected)[0].reason.endswith("no more than half may be ejected, and not the last")


async def test_when_others_fail_an_ejection_is_given_up(world: World) -> None:
    """No other can serve: the plan uses it at once, and the next look ends the ejection."""
    two = BACKENDS[:2]
    async with balanced(world, Passive.EJECT, two) as door:
        await door.put_health_check("web", HealthCheck(type=CheckType.TCP))
        for address in two:
            world.health.flip(address, Health.UP)
        await until(lambda: len(owners(world)) == 2)
        events = heard(door)
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        ejected, other = (ids(door)[address][0] for address in two)
        await until(lambda: owners(world) == {other})
        world.health.flip("10.0.0.12", Health.DOWN)
        await until(lambda: owners(world) == {ejected})
        await until(lambda: "it is used all the same, since too few others can serve" in view_of(door).reason)
        world.plane.handshakes = np.zeros(0, layout.HANDSHAKE)
        await watch_of(door).turn()
        assert [told.reason for told in of(events, BackendReturned)] == ["too few others serve"]


async def test_who_serves_though_its_check_failed_is_not_ejected(world: World) -> None:
    async with balanced(world, Passive.EJECT) as door:
        await door.put_health_check("web", HealthCheck(type=CheckType.TCP))
        events = heard(door)
        for address in BACKENDS:
            world.health.flip(address, Health.DOWN)
        await until(lambda: door.vip("web").operating_status == "FAILING_OPEN")
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        assert of(events, BackendEjected) == []
        assert view_of(door).ejection is None


async def test_what_cannot_be_read_is_told_once_and_ejections_end_all_the_same(world: World) -> None:
    with patch.object(passive_watch, PERIOD, 0.005):
        async with balanced(world, Passive.EJECT) as door:
            events = heard(door)
            handshakes(world, door, {"10.0.0.11"})
            await until(lambda: of(events, BackendEjected))
            with patch.object(world.plane, "read_handshakes", side_effect=PlatformError("no map")):
                await until(lambda: of(events, HandshakesNotRead))
                world.clock.seconds += 31
                await until(lambda: of(events, BackendReturned))
                await asyncio.sleep(0.05)
            assert [told.error for told in of(events, HandshakesNotRead)] == ["no map"]


async def test_its_check_is_run_at_once(world: World) -> None:
    async with balanced(world, Passive.EJECT) as door:
        await door.put_health_check("web", HealthCheck(type=CheckType.TCP))
        for address in BACKENDS:
            world.health.flip(address, Health.UP)
        await until(lambda: len(owners(world)) == 3)
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        await watch_of(door).turn()
        assert world.health.hurried == ["10.0.0.11"]


async def test_forged_syns_eject_nobody(world: World) -> None:
    """All at one backend, from ever new sources, which the worst attacker could arrange."""
    async with balanced(world, Passive.EJECT) as door:
        events = heard(door)
        for turn in range(10):
            handshakes(world, door, set())
            victim = ids(door)["10.0.0.11"]
            forged = np.zeros(10_000, layout.HANDSHAKE)
            began = int((world.clock.monotonic() - 0.7) * 1e9)
            forged["hash"] = np.arange(10_000) + 10_000
            forged["source"] = np.random.default_rng(turn).integers(1 << 30, 1 << 62, 10_000)
            forged["syn_at"] = forged["last_at"] = began
            forged["backend"], forged["epoch"] = victim
            world.plane.handshakes = np.concatenate([world.plane.handshakes, forged])
            await watch_of(door).turn()
            world.clock.seconds += 0.1
        assert not of(events, BackendEjected)
        assert not of(events, BackendNotEjected)


async def test_off_ends_it_all(world: World) -> None:
    async with balanced(world, Passive.EJECT) as door:
        dead = ids(door)["10.0.0.11"][0]
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        await until(lambda: dead not in owners(world))
        await door.patch_vip("web", {"passive": "off"})
        await watch_of(door).turn()
        await until(lambda: dead in owners(world))
        assert not any(vip.is_sampled for vip in world.plane.read_vips().values())
        assert world.plane.shares == {0: 0}


async def test_nothing_is_read_while_no_vip_needs_it(world: World) -> None:
    async with balanced(world, Passive.OFF):
        await asyncio.sleep(0.3)
        assert not {"read_handshakes", "handshake_counters", "write_shares"} & set(world.plane.calls)


async def test_a_backend_that_takes_the_place_of_an_ejected_one_is_not_ejected(world: World) -> None:
    async with balanced(world, Passive.EJECT) as door:
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        await until(lambda: ids(door)["10.0.0.11"][0] not in owners(world))
        await door.delete_backend("web", "10.0.0.11")
        await door.create_backend("web", Backend(ip_address("10.0.0.19")))
        assert len(owners(world)) == 3


async def test_a_restart_forgets_ejections(world: World) -> None:
    async with balanced(world, Passive.EJECT) as door:
        dead = ids(door)["10.0.0.11"][0]
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        await until(lambda: dead not in owners(world))
    world.plane.handshakes = np.zeros(0, layout.HANDSHAKE)
    async with balanced(world, Passive.EJECT):
        await until(lambda: dead in owners(world))


async def test_suspects_reach_the_program_for_syn_failover(world: World) -> None:
    """No slot moves for that, and who answers again is no suspect any more."""
    async with balanced(world, Passive.OFF) as door:
        await door.patch_vip("web", {"syn_failover": True})
        dead = ids(door)["10.0.0.11"][0]
        handshakes(world, door, {"10.0.0.11"})
        await watch_of(door).turn()
        await until(lambda: world.plane.suspects == {dead})
        world.plane.handshakes = np.zeros(0, layout.HANDSHAKE)
        await watch_of(door).turn()
        await until(lambda: world.plane.suspects == set())
        assert len(owners(world)) == 3


async def test_shares_that_somebody_changes_are_set_again(world: World) -> None:
    async with balanced(world, Passive.OBSERVE) as door:
        await watch_of(door).turn()
        await until(lambda: world.plane.shares == {0: ALL})
        world.plane.shares[0] = 0
        world.clock.seconds += 1
        await watch_of(door).turn()
        assert world.plane.shares == {0: ALL}


async def test_udp_has_no_handshakes() -> None:
    with pytest.raises(InvalidError, match="UDP has no handshakes"):
        Vip(VipKey.parse("203.0.113.10:53/udp"), passive=Passive.EJECT)
