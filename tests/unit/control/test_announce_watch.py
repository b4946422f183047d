# SPDX-License-Identifier: Apache-2.0
"""Announcing, with a manager over fakes: when routes come and go, and what becomes of those that others touch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import until
from tests.stopwatch import Stopwatch
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend
from xdplb.control.events import DAEMON, Announced, DriftFound, Event, Withdrawn
from xdplb.control.writing.announce_watch import UsedTable
from xdplb.model.address import IPNetwork
from xdplb.model.announcing import AnnouncedRoute, Announcing, OnDaemonLoss, TrackFile
from xdplb.model.backend import Health
from xdplb.model.errors import PlatformError
from xdplb.model.health import HealthCheck
from xdplb.model.nic import DesiredNic
from xdplb.model.vip import Announce, Vip, VipKey

FOUR, OTHER = ip_network("203.0.113.10/32"), ip_network("203.0.113.77/32")
HEALTHY = replace(WEB, announce=Announce.HEALTHY)
PORT_81 = Vip(VipKey.parse("203.0.113.10:81/tcp"), announce=Announce.HEALTHY)


class MemoryTable:
    """A routing table in memory; `calls` has what was done to it."""

    def __init__(self, *routes: AnnouncedRoute) -> None:
        self.routes = set(routes)
        self.calls: list[str] = []
        self.error = ""

    def read(self) -> list[AnnouncedRoute]:
        self._note("read")
        return list(self.routes)

    def add(self, routes: Sequence[AnnouncedRoute]) -> list[str]:
        refused = []
        for route in routes:
            self._note(f"+{route.network} {route.metric}")
            taken = {(each.network, each.metric) for each in self.routes}
            refused.append("it is taken" if (route.network, route.metric) in taken else "")
            if not refused[-1]:
                self.routes.add(route)
        return refused

    def remove(self, routes: Sequence[AnnouncedRoute]) -> None:
        for route in routes:
            self._note(f"-{route.network} {route.metric}")
            self.routes.discard(route)

    def close(self) -> None:
        self._note("close")

    @property
    def ours(self) -> dict[IPNetwork, int]:
        return {route.network: route.metric for route in self.routes if route.ours}

    def changes(self) -> list[str]:
        return [call for call in self.calls if call[0] in "+-"]

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.error:
            raise PlatformError(self.error)


class Node:
    """A manager on a world, with a table of routes; `begun` counts how often the table was taken into use."""

    def __init__(self, path: Path, table: MemoryTable | None = None) -> None:
        self.world = World(path, nics=[DesiredNic("eth0", "auto")])
        self.table = table or MemoryTable()
        self.begun = 0
        self.said: list[Event] = []

    def run(
        self, scenario: Callable[[Door], Awaitable[None]], announcing: Announcing | None = None, **used: Any
    ) -> None:
        async def inner() -> None:
            among = {
                "announcing": announcing or Announcing(),
                "table": UsedTable(self.table, begin=self._begin, **used),
            }
            async with self.world.running(lambda manager: manager.events.listen(self.said.append), **among) as door:
                await scenario(door)

        asyncio.run(inner())

    def _begin(self) -> None:
        self.begun += 1

    def flip(self, last: int, health: Health) -> None:
        self.world.health.flip(f"10.0.0.{last}", health)

    def events(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.said if isinstance(event, kinds)]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def in_time(node: Node, true: Callable[[], bool]) -> None:
    """Let time go by until the condition is true.

    It goes on while one waits: when the table is looked at again is set only once a look has ended, after what it did.
    """

    def passes() -> bool:
        if not true():
            node.world.clock.advance(0.25)
        return true()

    await until(passes)


async def checked(door: Door, node: Node, vip: Vip, *lasts: int) -> None:
    """Add a VIP with checked backends, which are up."""
    await door.create_vip(vip)
    await door.put_health_check(str(vip.key), HealthCheck())
    for last in lasts:
        await door.create_backend(str(vip.key), backend(last))
        node.flip(last, Health.UP)


def test_nothing_is_touched_until_a_vip_asks_for_a_route(node: Node) -> None:
    async def scenario(door: Door) -> None:
        await checked(door, node, WEB, 1)
        await asyncio.sleep(0.05)
        assert node.table.calls == []
        assert node.begun == 0
        await door.patch_vip("web", {"announce": "healthy"})
        await until(lambda: node.table.ours == {FOUR: 0})
        assert node.begun == 1

    node.run(scenario)


def test_a_route_follows_the_health_and_returns_later_each_time(node: Node) -> None:
    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: node.table.ours == {FOUR: 0})
        for delay in (2.0, 4.0):
            node.flip(1, Health.DOWN)
            await until(lambda: node.table.ours == {})
            assert "0 backends serve, and 1 must" in str(node.events(Withdrawn)[-1])
            node.flip(1, Health.UP)
            await until(lambda: "announced when" in _reason(door))
            assert node.table.ours == {}
            node.world.clock.advance(delay - 0.1)
            await asyncio.sleep(0.02)
            assert node.table.ours == {}
            node.world.clock.advance(0.2)
            await until(lambda: node.table.ours == {FOUR: 0}, 15)  # it looks again in seconds that are not the world's
        await until(lambda: _reason(door) == "")

    node.run(scenario)


def test_a_vip_that_fails_open_is_announced_only_as_a_last_resort(node: Node) -> None:
    """With nobody healthy the route goes, although the VIP still forwards; with too few, other nodes are preferred."""

    async def scenario(door: Door) -> None:
        await checked(door, node, replace(HEALTHY, panic_share=0.5), 1, 2, 3)
        await until(lambda: node.table.ours == {FOUR: 0})
        node.flip(2, Health.DOWN)
        node.flip(3, Health.DOWN)
        await until(lambda: node.table.ours == {FOUR: 100})
        assert node.table.changes()[-2:] == [f"+{FOUR} 100", f"-{FOUR} 0"], "it is never gone"
        assert _reason(door).startswith("203.0.113.10:443/tcp fails open, so other nodes are preferred")
        node.flip(1, Health.DOWN)
        await until(lambda: node.table.ours == {})
        assert door.vip("web").operating_status == "FAILING_OPEN"
        node.flip(1, Health.UP)
        await in_time(node, lambda: node.table.ours == {FOUR: 100})
        node.flip(2, Health.UP)
        await until(lambda: "announced when" in _reason(door))
        assert node.table.ours == {FOUR: 100}, "it must be well for a while, as after a failure"
        await in_time(node, lambda: node.table.ours == {FOUR: 0})

    node.run(scenario)


def _reason(door: Door) -> str:
    shown = door.vip("web").announced
    assert shown is not None
    return shown.reason


def test_vips_of_one_address_share_a_route_that_one_of_them_can_withdraw(node: Node) -> None:
    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: node.table.ours == {FOUR: 0})
        await door.create_vip(PORT_81)
        await until(lambda: node.table.ours == {})
        await door.patch_vip(str(PORT_81.key), {"announce": "always"})
        node.world.clock.advance(3)
        await until(lambda: node.table.ours == {FOUR: 0})
        node.flip(1, Health.DOWN)
        await asyncio.sleep(0.05)
        assert node.table.ours == {FOUR: 0}, "one says always"
        await door.delete_vip(str(PORT_81.key))
        await until(lambda: node.table.ours == {})
        await door.delete_vip("web")
        await asyncio.sleep(0.02)
        assert {event.subjects() and event.subjects()[0] for event in node.events(Announced)} == {(str(WEB.key), None)}

    node.run(scenario)


def test_without_a_nic_that_carries_packets_nothing_is_announced(node: Node) -> None:
    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: node.table.ours == {FOUR: 0})
        node.world.hops.set_link("eth0", carrier=False)
        await until(lambda: node.table.ours == {})
        await until(lambda: _reason(door).startswith("no NIC carries packets: eth0 has no carrier"))
        node.world.hops.set_link("eth0", carrier=True)
        await until(lambda: node.table.ours == {FOUR: 0})

    node.run(scenario)


def test_a_drain_never_takes_the_route_away_before_its_end(node: Node) -> None:
    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: node.table.ours == {FOUR: 0})
        await door.manager.node.begin(600, 3, DAEMON)
        await until(lambda: node.table.ours == {FOUR: 100})
        assert node.table.changes()[-2:] == [f"+{FOUR} 100", f"-{FOUR} 0"]
        await until(lambda: _reason(door) == "this node is draining")
        node.flip(1, Health.DOWN)
        await until(lambda: node.table.ours == {})
        node.flip(1, Health.UP)
        await until(lambda: "announced when" in _reason(door))
        node.world.clock.advance(2.5)
        await until(lambda: node.table.ours == {FOUR: 100})
        node.world.clock.advance(5)
        await until(lambda: node.table.ours == {})
        await until(lambda: _reason(door) == "this node is drained")
        await door.manager.node.end(DAEMON)
        await until(lambda: node.table.ours == {FOUR: 0})

    node.run(scenario)


def test_a_start_takes_over_what_is_wanted_and_removes_what_is_not(node: Node) -> None:
    async def before(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: node.table.ours == {FOUR: 0})

    async def after(_door: Door) -> None:
        await until(lambda: OTHER not in node.table.ours)
        await asyncio.sleep(0.05)

    node.run(before)
    assert node.table.ours == {FOUR: 0}, "by default they stay when the daemon stops"
    node.table.routes |= {AnnouncedRoute(OTHER, 0), AnnouncedRoute(OTHER, 7, ours=False)}
    node.table.calls.clear()
    node.said.clear()
    node.run(after, is_used=True)
    assert node.table.changes() == [f"-{OTHER} 0"]
    assert AnnouncedRoute(OTHER, 7, ours=False) in node.table.routes
    assert not node.events(Announced, DriftFound)


def test_another_table_is_emptied_once_this_one_has_the_routes(node: Node) -> None:
    earlier = MemoryTable(AnnouncedRoute(FOUR, 0), AnnouncedRoute(OTHER, 0, ours=False))

    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: earlier.ours == {})
        await until(lambda: node.table.ours == {FOUR: 0})

    node.run(scenario, is_used=True, earlier=(earlier,))
    assert earlier.routes == {AnnouncedRoute(OTHER, 0, ours=False)}


def test_what_others_remove_or_add_is_put_right_and_told(node: Node) -> None:
    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: node.table.ours == {FOUR: 0})
        node.table.routes = {AnnouncedRoute(OTHER, 0)}
        await in_time(node, lambda: node.table.ours == {FOUR: 0})
        reasons = [event.reason for event in node.events(DriftFound) if isinstance(event, DriftFound)]
        assert any("has removed the route of 203.0.113.10/32" in reason for reason in reasons)
        assert any("has put a route of 203.0.113.77/32" in reason for reason in reasons)
        assert len(node.events(Announced)) == 1

    node.run(scenario)


def test_a_route_of_another_program_is_not_replaced_and_told_until_it_is_gone(node: Node) -> None:
    foreign = AnnouncedRoute(FOUR, 0, ours=False)
    node.table.routes = {foreign}

    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: "another program has put a route" in _reason(door))
        assert node.table.routes == {foreign}
        assert any("is not announced" in each.reason for each in door.manager.answers.status().drift)
        node.table.routes = set()
        await in_time(node, lambda: node.table.ours == {FOUR: 0})
        await in_time(node, lambda: not door.manager.answers.status().drift)
        await in_time(node, lambda: _reason(door) == "")

    node.run(scenario)


def test_if_the_table_cannot_be_written_it_is_told_and_tried_again(node: Node) -> None:
    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: node.table.ours == {FOUR: 0})
        node.table.error = "rtnetlink did not answer"
        node.flip(1, Health.DOWN)
        await until(lambda: bool(door.manager.answers.status().drift))
        assert node.table.ours == {FOUR: 0}
        node.table.error = ""
        await in_time(node, lambda: node.table.ours == {})
        await in_time(node, lambda: not door.manager.answers.status().drift)

    node.run(scenario)


def test_stopped_it_withdraws_if_that_was_asked_for(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "vrrp"
    asked = Announcing(on_daemon_loss=OnDaemonLoss.WITHDRAW, track_files=(TrackFile(file),))

    async def scenario(door: Door) -> None:
        await checked(door, node, HEALTHY, 1)
        await until(lambda: node.table.ours == {FOUR: 0})
        await in_time(node, lambda: file.read_text() == "0\n")

    node.run(scenario, asked)
    assert node.table.ours == {}
    assert file.read_text() == "-30\n"


def test_a_change_costs_what_it_changes(node: Node) -> None:
    async def scenario(door: Door) -> None:
        for port in range(1, 41):
            key = VipKey.parse(f"203.0.113.{100 + port}:80/tcp")
            await door.create_vip(Vip(key, announce=Announce.ALWAYS))
        await checked(door, node, HEALTHY, 1)
        await until(lambda: len(node.table.ours) == 41)
        node.table.calls.clear()
        node.flip(1, Health.DOWN)
        watch = Stopwatch()
        await until(lambda: FOUR not in node.table.ours)
        assert watch.unhindered < 1
        assert node.table.calls == [f"-{FOUR} 0"], "no table is read for a flip"

    node.world = World(node.world.path, nics=node.world.nics)
    node.run(scenario)


def test_the_file_for_keepalived_follows_its_vips_and_the_node(node: Node, tmp_path: Path) -> None:
    every, web, both = (tmp_path / name for name in ("every", "web", "both"))
    other = replace(PORT_81, name="other", announce=Announce.NEVER)
    files = (TrackFile(every), TrackFile(web, ("web",)), TrackFile(both, ("web", str(other.key))))
    asked = Announcing(track_files=files, track_weight=-50)

    def texts() -> list[str]:
        return [file.read_text().strip() for file in (every, web, both)]

    async def scenario(door: Door) -> None:
        await until(lambda: texts() == ["0", "-50", "-50"])  # without a VIP there is none to be well
        await checked(door, node, WEB, 1)
        await in_time(node, lambda: texts() == ["0", "0", "0"])
        node.flip(1, Health.DOWN)
        await until(lambda: texts() == ["-50", "-50", "-50"])
        await door.create_backend("web", backend(3))
        await door.patch_vip("web", {"panic_share": 1})
        node.flip(3, Health.UP)
        await in_time(node, lambda: door.vip("web").min_serving_met)
        assert door.vip("web").operating_status == "FAILING_OPEN"
        await asyncio.sleep(0.05)
        assert texts() == ["-50", "-50", "-50"], "the other balancer may see more of them healthy"
        await door.delete_backend("web", "10.0.0.3")
        await checked(door, node, other, 2)
        await in_time(node, lambda: texts() == ["0", "-50", "0"])
        await door.manager.node.begin(600, 600, DAEMON)
        await until(lambda: texts() == ["-50", "-50", "-50"])
        await door.manager.node.end(DAEMON)
        await in_time(node, lambda: texts() == ["0", "-50", "0"])
        every.write_text("7")
        both.unlink()
        await until(lambda: both.exists() and texts() == ["0", "-50", "0"])

    node.run(scenario, asked)
    assert texts() == ["0", "-50", "0"], "by default it stays when the daemon stops"


def test_a_file_that_is_there_stays_until_it_is_known_whether_this_node_is_ready(node: Node, tmp_path: Path) -> None:
    file, seen = tmp_path / "vrrp", []
    file.write_text("0\n")
    inode = file.stat().st_ino

    async def scenario(door: Door) -> None:
        await asyncio.sleep(0.05)
        seen.append(file.stat().st_ino)
        assert door.manager.answers.not_ready() == []

    node.run(scenario, Announcing(track_files=(TrackFile(file),)))
    assert seen == [inode], "what it says is right, so it is not written"
