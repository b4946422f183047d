# SPDX-License-Identifier: Apache-2.0
"""What nodes tell each other by the store that they share: over a store in memory, with nodes that are stand-ins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import FakeClock
from xdplb.cluster.memory import MemoryRepository, MemoryStore
from xdplb.control.answers.nodes import heard_by_store
from xdplb.control.clock import SteadyClock
from xdplb.control.events import DriftKind, Events
from xdplb.control.writing import store_nodes
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.store_nodes import StoreNode, StoreNodes
from xdplb.model.address import parse_address
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.node_health import SeenHealth
from xdplb.model.node_status import NodeStatus
from xdplb.model.vip import VipKey

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WEB = VipKey.parse("203.0.113.10:443/tcp")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_nodes, "_LOOK_SECONDS", 0.001)


class Status:
    """A status that a test sets."""

    def __init__(self, name: str) -> None:
        self.name, self.status = name, NodeStatus(name, "1.0.0", generation=1, peer="10.0.0.2:4815")
        self.was_asked = threading.Event()

    def __call__(self) -> NodeStatus:
        self.was_asked.set()
        return self.status


class Node:
    """A node with two backends."""

    def __init__(self, store: MemoryStore, name: str, clock: FakeClock) -> None:
        self.status = Status(name)
        self.repository = Counting(store, name)
        self.peers: list[str] = []
        self.away: datetime | None = None
        backends = [(SimpleNamespace(vip=SimpleNamespace(key=WEB)), _backend(number)) for number in (1, 2)]
        self.health = SimpleNamespace(known={}, changes=0)
        snapshot = SimpleNamespace(generation=1, backends=lambda: iter(backends))
        writer: Any = SimpleNamespace(snapshot=snapshot, health=self.health)
        self.drifts = Drifts(Events(), clock.monotonic, clock.steady().now)
        self.nodes = StoreNodes(
            self.repository,
            self.status,  # type: ignore[arg-type]
            writer,
            self.drifts,
            steady=SteadyClock(),
            away_since=lambda: self.away,
            on_peers=self._found,
            clock=clock.monotonic,
        )

    def _found(self, peers: Sequence[str]) -> None:
        self.peers = list(peers)

    def see(self, number: int, health: Health, reason: str = "") -> None:
        self.health.known[number] = KnownHealth(health, reason, NOW)
        self.health.changes += 1

    async def looks(self, times: int = 3) -> None:
        """Return when it has looked so many times more at what is to be published."""
        for _ in range(times):
            self.status.was_asked.clear()
            await asyncio.to_thread(self.status.was_asked.wait, 5)


class Counting(MemoryRepository):
    def __init__(self, store: MemoryStore, node: str) -> None:
        super().__init__(store, node)
        self.published: list[str] = []

    def publish(self, name: str, value: Any) -> None:
        self.published.append(name)
        super().publish(name, value)


def _backend(number: int) -> Any:
    return SimpleNamespace(id=number, backend=SimpleNamespace(address=parse_address(f"10.0.0.1{number}")), generation=1)


def run(test: Callable[[MemoryStore, FakeClock, Node, Node], Any]) -> None:
    """Run a test with two nodes that publish, and take what is published."""

    async def inner() -> None:
        store, clock = MemoryStore(), FakeClock()
        nodes = Node(store, "lb1", clock), Node(store, "lb2", clock)
        tasks = [asyncio.create_task(node.nodes.run()) for node in nodes]
        try:
            await test(store, clock, *nodes)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(inner())


def take(store: MemoryStore, node: Node) -> None:
    from xdplb.cluster.repository import Nodes

    node.nodes.take(Nodes(store.nodes()))


def test_each_publishes_itself_and_keeps_the_others():
    async def test(store: MemoryStore, clock: FakeClock, one: Node, other: Node) -> None:
        await one.looks()
        await other.looks()
        take(store, one)
        assert list(one.nodes.others) == ["lb2"]
        assert one.nodes.others["lb2"].status == other.status.status
        assert one.peers == ["10.0.0.2:4815"]

    run(test)


def test_rates_alone_are_published_only_now_and_then():
    async def test(store: MemoryStore, clock: FakeClock, one: Node, other: Node) -> None:
        await one.looks()
        for rate in range(5):
            one.status.status = NodeStatus("lb1", "1.0.0", generation=1, packets_per_second=float(rate + 1))
            await one.looks()
        assert one.repository.published.count("status") == 2  # the peer address has changed, once
        clock.advance(31)
        await one.looks()
        assert one.repository.published.count("status") == 3
        one.status.status = NodeStatus("lb1", "1.0.0", generation=2)
        await one.looks()
        assert store.published["lb1"]["status"]["generation"] == 2
        clock.advance(31)
        await one.looks()
        assert one.repository.published.count("status") == 4  # nothing has changed

    run(test)


def test_generations_of_many_vips_are_left_out():
    async def test(store: MemoryStore, clock: FakeClock, one: Node, other: Node) -> None:
        many = {f"203.0.113.10:{port}:tcp": 1 for port in range(2000)}
        one.status.status = NodeStatus("lb1", "1.0.0", generation=1, vip_generations=many)
        await one.looks()
        assert "vip_generations" not in store.published["lb1"]["status"]

    run(test)


def test_health_is_told_of_what_is_not_up():
    async def test(store: MemoryStore, clock: FakeClock, one: Node, other: Node) -> None:
        other.see(1, Health.UP)
        other.see(2, Health.DOWN, "connection refused")
        clock.advance(4)
        await other.looks()
        take(store, one)
        seen = one.nodes.others["lb2"].health
        assert seen.of_backend(WEB.path, "10.0.0.11", 1) == SeenHealth(Health.UP, "", 0.0)
        down = seen.of_backend(WEB.path, "10.0.0.12", 1)
        assert down is not None
        assert (down.health, down.reason) == (Health.DOWN, "connection refused")
        published = other.repository.published.count("health")
        for flap in (Health.UP, Health.DOWN, Health.UP):
            other.see(2, flap)
            await other.looks()
        assert other.repository.published.count("health") == published  # not so soon
        clock.advance(4)
        await other.looks()
        assert other.repository.published.count("health") == published + 1

    run(test)


def test_a_node_that_is_gone_is_lost_and_forgotten_an_hour_later():
    async def test(store: MemoryStore, clock: FakeClock, one: Node, other: Node) -> None:
        await other.looks()
        take(store, one)
        there = one.nodes.others["lb2"]
        del store.published["lb2"]
        take(store, one)
        gone = one.nodes.others["lb2"]
        assert gone.status == there.status
        assert gone.gone is not None
        take(store, one)
        assert one.nodes.others["lb2"] == gone

    run(test)


def test_another_node_of_the_same_name_is_told():
    async def test(store: MemoryStore, clock: FakeClock, one: Node, other: Node) -> None:
        store.publish("lb1", "status", {"name": "lb1", "version": "1", "instance": "of the last life"})
        take(store, one)
        await one.looks()
        take(store, one)
        await one.looks()
        assert not one.drifts.standing()
        store.publish("lb1", "status", {"name": "lb1", "version": "1", "instance": "another"})
        take(store, one)
        await one.looks()
        (drift,) = one.drifts.standing()
        assert (drift.kind, "called lb1, too" in drift.reason) == (DriftKind.PEER, True)
        clock.advance(100)
        await one.looks()
        assert not one.drifts.standing()

    run(test)


@pytest.mark.parametrize("told", [{}, {"status": {}}, {"status": {"name": "lb9"}}, {"status": {"name": "no name!"}}])
def test_what_is_no_node_is_passed_over(told):
    async def test(store: MemoryStore, clock: FakeClock, one: Node, other: Node) -> None:
        store.published["lb3"] = told
        take(store, one)
        assert "lb3" not in one.nodes.others

    run(test)


def test_nodes_count_as_lost_when_the_store_is_away_for_long():
    node = StoreNode(NodeStatus("lb2", "1"))
    ahead = timedelta(seconds=5)
    (heard,) = heard_by_store([node], NOW, ahead, NOW - timedelta(seconds=3))
    assert (heard.is_there, heard.heard) == (True, NOW + ahead)
    (heard,) = heard_by_store([node], NOW, ahead, NOW - timedelta(seconds=30))
    assert (heard.is_there, heard.heard) == (False, NOW - timedelta(seconds=25))
