# SPDX-License-Identifier: Apache-2.0
"""Managers that talk to each other over loopback: what the control plane does with what peers tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np

from tests.fakes import new_drifts
from tests.stopwatch import Stopwatch
from tests.unit.control.door import Door
from tests.unit.control.world import World, with_backends
from tests.unit.peers.wires import record
from xdplb.control.events import Event
from xdplb.control.manager import Manager
from xdplb.control.writing.peer_drifts import PeerDrifts
from xdplb.model.backend import Health
from xdplb.model.check_type import CheckType
from xdplb.model.errors import XdplbError
from xdplb.model.health import HealthCheck
from xdplb.model.key import VipKey
from xdplb.model.node import SeenState
from xdplb.model.node_status import NodeStatus
from xdplb.model.shared_record import NO_RECORDS, SharedRecords, SharedSlots, SharedState
from xdplb.peers.addresses import Place
from xdplb.peers.exchange import Peer
from xdplb.peers.keys import Key, Keys
from xdplb.peers.peering import Peering
from xdplb.peers.sockets import bind_peers

KEYS = Keys((Key(b"k" * 32),))


@dataclass
class Source:
    """Stands for the API of a peer: what it answers to a pull."""

    state: SharedState | None = field(default_factory=lambda: SharedState((), NO_RECORDS))
    asked: list[str] = field(default_factory=list)

    def pull(self, _name: str, url: str) -> SharedState:
        self.asked.append(url)
        if self.state is None:
            raise XdplbError(f"{url} does not answer")
        return self.state


@dataclass
class Node:
    """A running manager with what it has told and taken."""

    manager: Manager
    world: World
    source: Source
    events: list[Event]
    taken: list[SharedRecords]
    taken_over: list[SharedState]

    def kinds(self, kind: str) -> list[Any]:
        return [event for event in self.events if kind == event.KIND]

    @property
    def ports(self) -> list[int]:
        return [int(port) for records in self.taken for port in records["source_port"]]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.005)


class Cluster:
    """Nodes on loopback, each with an address of its own."""

    def __init__(self, path: Path, count: int, *, keys: dict[int, Keys] | None = None) -> None:
        self._path, self._keys = path, keys or {}
        self.sockets = [bind_peers([Place("127.0.0.1", 0)]) for _ in range(count)]
        self.places = [each.places[0] for each in self.sockets]

    def again(self, number: int) -> None:
        """Bind the address of a node that has stopped."""
        self.sockets[number] = bind_peers([self.places[number]])

    @asynccontextmanager
    async def node(
        self,
        number: int,
        *,
        source: Source | None = None,
        name: str = "",
        url: str = "http://127.0.0.1:1",
        waits: bool = True,
    ) -> AsyncIterator[Node]:
        """Run a node that names the others: at its start, so that it waits for them, or only then."""
        world = World(self._path / f"lb{number}", node=name or f"lb{number}")
        source = source or Source()
        others = tuple(place for place in self.places if place != self.places[number])
        keys, named = self._keys.get(number, KEYS), others if waits else ()
        peering = Peering(self.sockets[number], keys, self._path / "key", named, source)  # type: ignore[arg-type]
        node = Node(None, world, source, [], [], [])  # type: ignore[arg-type]

        async def take_over(state: SharedState) -> None:
            node.taken_over.append(state)

        def prepare(manager: Manager) -> None:
            node.manager = manager
            manager.events.listen(node.events.append)
            manager.records.take = node.taken.append  # type: ignore[method-assign, assignment]
            manager.records.take_over = take_over  # type: ignore[method-assign]

        async with world.running(url=url, peering=peering, prepare=prepare):
            assert node.manager.peers is not None
            if not waits:
                node.manager.peers.found(others)
            yield node


def run_nodes(path: Path, count: int, scenario: Callable[..., Awaitable[None]], **more: Any) -> None:
    """Run a scenario with so many nodes."""

    async def inner() -> None:
        cluster = Cluster(path, count, **more)
        async with cluster.node(0, waits=False) as one, cluster.node(1) as other:
            await until(lambda: one.kinds("peer_appeared") and other.kinds("peer_appeared"))
            await scenario(one, other)

    asyncio.run(inner())


def test_records_of_one_node_are_taken_by_the_other_within_milliseconds(tmp_path: Path):
    async def scenario(one: Node, other: Node) -> None:
        watch = Stopwatch()
        one.manager.records.on_new(np.concatenate([record(port=port) for port in range(1, 301)]))
        await until(lambda: len(other.ports) == 300)
        assert watch.unhindered < 0.5
        assert other.manager.peers is not None
        counts = other.manager.peers.view.counts
        assert (counts.records_received, counts.records_dropped) == (300, 0)

    run_nodes(tmp_path, 2, scenario)


def test_a_node_that_starts_takes_over_what_its_peer_knows_before_it_is_ready(tmp_path: Path):
    none = np.zeros(0, np.uint32), np.zeros(0, np.uint16), np.zeros(0, np.float32)
    slots = SharedSlots(VipKey.parse("203.0.113.10:443/tcp"), (ip_address("10.0.0.11"),), *none)
    known = SharedState((slots,), record(port=7))

    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2)
        async with cluster.node(0, waits=False):
            watch = Stopwatch()
            async with cluster.node(1, source=Source(known)) as other:  # it is ready when the block begins
                assert other.taken_over[0] is known
                assert watch.unhindered < 1.5
                assert other.source.asked[0] == "http://127.0.0.1:1"
                await until(lambda: other.kinds("records_pulled"))
                assert other.kinds("records_pulled")[0].records == 1

    asyncio.run(scenario())


def test_a_node_whose_peers_are_all_away_starts_after_two_seconds_and_says_so(tmp_path: Path):
    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2)
        watch = Stopwatch()
        cluster.sockets[1].close()
        async with cluster.node(0) as one:
            assert watch.seconds > 1.9
            assert watch.unhindered < 3
            assert "the peer did not answer within 2 s" in str(one.kinds("drift")[0])
            assert one.manager.answers.is_running

    asyncio.run(scenario())


def test_a_node_starts_although_nothing_can_be_pulled_and_it_is_tried_again(tmp_path: Path):
    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2)
        source = Source(None)
        async with cluster.node(0, waits=False), cluster.node(1, source=source) as other:
            await until(lambda: other.kinds("records_not_pulled"))
            drift = [str(each) for each in other.manager.answers.status().drift]
            assert any("cannot be pulled: http://127.0.0.1:1 does not answer" in each for each in drift)
            source.state = SharedState((), NO_RECORDS)
            await until(lambda: other.taken_over)
            await until(lambda: other.kinds("drift_over"))

    asyncio.run(scenario())


def test_a_node_stops_although_a_peer_has_not_told_all_that_it_knows(tmp_path: Path) -> None:
    """A peer may send its answer a byte at a time."""

    class Slow(Source):
        def pull(self, name: str, url: str) -> SharedState:
            super().pull(name, url)
            time.sleep(8)
            raise XdplbError("too late")

    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2)
        slow = Slow()
        async with cluster.node(0, waits=False) as first, cluster.node(1, source=slow, waits=False) as second:
            for node in (first, second):
                assert node.manager.peers is not None
                node.manager.peers.found(cluster.places)
            await until(lambda: slow.asked)

    watch = Stopwatch()
    asyncio.run(scenario())
    assert watch.unhindered < 7


def test_a_peer_that_does_not_say_where_its_api_is(tmp_path: Path):
    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2)
        async with cluster.node(0, waits=False, url=""), cluster.node(1) as other:
            await until(lambda: other.kinds("records_not_pulled"))
            assert "--advertise-url" in other.kinds("records_not_pulled")[0].reason

    asyncio.run(scenario())


def test_records_that_could_not_be_handed_out_are_pulled_by_the_peer(tmp_path: Path):
    async def scenario(one: Node, other: Node) -> None:
        await until(lambda: len(other.taken_over) >= 1)
        await asyncio.sleep(1.1)  # until it may be asked again
        before = len(other.taken_over)
        one.manager.records.on_gap()
        await until(lambda: len(other.taken_over) > before)
        await until(lambda: "1 datagrams of it were lost" in [each.reason for each in other.kinds("records_pulled")])

    run_nodes(tmp_path, 2, scenario)


def test_a_flip_makes_the_other_node_check_the_backend_and_decides_nothing(tmp_path: Path):
    async def scenario(one: Node, other: Node) -> None:
        for node in (one, other):
            door = Door(node.manager)
            await with_backends(door, 11, 12)
            await door.put_health_check("web", HealthCheck(CheckType.TCP))
            node.world.health.flip("10.0.0.11", Health.UP)
        await asyncio.sleep(0.1)
        other.world.health.hurried.clear()
        other.world.health.rechecked.clear()
        one.world.health.flip("10.0.0.11", Health.DOWN)
        await until(lambda: other.world.health.hurried == ["10.0.0.11"])
        assert Door(other.manager).backend("web", "10.0.0.11").health is Health.UP
        one.world.health.flip("10.0.0.11", Health.UP)
        await asyncio.sleep(0.1)
        assert other.world.health.rechecked == [], "it is up there already"

    run_nodes(tmp_path, 2, scenario)


def test_a_peer_that_stops_is_told_and_shown_as_lost(tmp_path: Path):
    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2)
        async with cluster.node(0, waits=False) as one:
            async with cluster.node(1):
                await until(lambda: one.kinds("peer_appeared"))
                await until(lambda: one.manager.answers.node("lb1").state is SeenState.SERVING)
                shown = one.manager.answers.nodes()
                assert [(each.name, each.state) for each in shown] == [
                    ("lb0", SeenState.SERVING),
                    ("lb1", SeenState.SERVING),
                ]
                assert (shown[1].peer_is_up, shown[1].heard is not None) == (True, True)
            await until(lambda: one.kinds("peer_lost"))
            gone = one.manager.answers.node("lb1")
            assert (gone.state, gone.peer_is_up) == (SeenState.LOST, False)
            cluster.again(1)
            async with cluster.node(1):
                await until(lambda: len(one.kinds("peer_appeared")) == 2)

    asyncio.run(scenario())


def test_nodes_with_the_same_vips_and_backends_have_the_same_digest(tmp_path: Path):
    async def scenario(one: Node, other: Node) -> None:
        def equal() -> bool | None:
            return one.manager.answers.node("lb1").state_is_equal

        await until(equal)
        await with_backends(Door(one.manager), 11, 12)
        await until(lambda: equal() is False)
        door = Door(other.manager)
        await with_backends(door, 12, 11)
        await until(equal)
        await door.patch_backend("web", "10.0.0.11", {"weight": 2})
        await until(lambda: equal() is False)
        await door.patch_backend("web", "10.0.0.11", {"weight": 1})
        await until(equal)

    run_nodes(tmp_path, 2, scenario)


def test_another_key_is_told_as_drift(tmp_path: Path):
    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2, keys={1: Keys((Key(b"x" * 32),))})
        async with cluster.node(0, waits=False) as one, cluster.node(1):
            await until(lambda: any("wrong key" in str(each) for each in one.kinds("drift")))
            assert one.manager.peers is not None
            assert one.manager.peers.view.counts.refused["wrong_key"] > 0

    asyncio.run(scenario())


def test_two_nodes_of_one_name_are_told(tmp_path: Path):
    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2)
        async with cluster.node(0, waits=False, name="lb") as one, cluster.node(1, name="lb"):
            await until(lambda: any("several nodes are called lb" in str(each) for each in one.kinds("drift")))

    asyncio.run(scenario())


def test_a_name_that_two_nodes_had_is_well_once_one_has_it():
    drifts = new_drifts()
    found = PeerDrifts(drifts, time.monotonic)
    own, place = NodeStatus("lb", "1.0"), Place("192.0.2.1", 4815)

    def peer(boot: bytes) -> Peer:
        return Peer(place, "lb2", boot, True, True, NodeStatus("lb2", "1.0"), time.monotonic(), None, 0)  # noqa: FBT003

    found.look(own, [peer(b"1"), peer(b"2")])
    assert [each.what for each in drifts.standing()] == ["lb2 name"]
    found.look(own, [peer(b"1")])
    assert not drifts.standing()
    found.look(own, [peer(b"1"), peer(b"2")])
    found.look(own, [])
    assert not drifts.standing()


def test_keys_are_read_again_and_bad_ones_change_nothing(tmp_path: Path):
    async def scenario(one: Node, other: Node) -> None:
        assert one.manager.peers is not None
        file = tmp_path / "key"
        await one.manager.peers.read_keys()
        assert "No such file" in one.kinds("peer_keys_not_read")[0].reason
        file.write_text("k" * 32 + "\n" + "n" * 32)
        file.chmod(0o600)
        await one.manager.peers.read_keys()
        assert one.kinds("peer_keys_read")[0].keys == 2
        one.manager.records.on_new(record(port=5))
        await until(lambda: other.ports == [5])

    run_nodes(tmp_path, 2, scenario)


def test_nodes_that_the_store_finds_become_peers(tmp_path: Path):
    async def scenario() -> None:
        cluster = Cluster(tmp_path, 2)
        places, cluster.places = cluster.places, [replace_port(place) for place in cluster.places]
        async with cluster.node(0, waits=False) as one, cluster.node(1):
            assert one.manager.peers is not None
            one.manager.peers.found(places)
            await until(lambda: one.kinds("peer_appeared"))

    def replace_port(place: Place) -> Place:
        return Place(place.host, 1)

    asyncio.run(scenario())


def test_the_thread_is_watched(tmp_path: Path):
    async def scenario(one: Node, _other: Node) -> None:
        assert "peers thread" in one.manager.pulses.threads

    run_nodes(tmp_path, 2, scenario)
