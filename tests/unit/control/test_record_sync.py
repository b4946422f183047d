# SPDX-License-Identifier: Apache-2.0
"""Records of connections: what peers are told, and what becomes of what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, with_backends
from xdplb.balance.hashing import flow_hash, slot_of
from xdplb.balance.slots import PINNED, STEADY, unpack
from xdplb.control.flows.settle import PEERS_LATE_SECONDS
from xdplb.control.flows.telling import Arrived
from xdplb.control.writing.record_sync import RecordSync
from xdplb.dataplane import layout
from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import Capacity
from xdplb.model.key import VipKey
from xdplb.model.shared_record import FIN, OPENED, SHARED_RECORD, SharedRecords, SharedSlots, SharedState
from xdplb.model.vip import Protocol

CLIENT = "198.51.100.7"


class Node:
    """A balancer of fakes, with the exchange of its records."""

    def __init__(self, world: World, door: Door) -> None:
        manager = door.manager
        self.world, self.door = world, door
        self.writer = manager._writer
        self.writer.applier.peers_late_seconds = PEERS_LATE_SECONDS
        self.records = RecordSync(world.plane, self.writer, manager._drifts, clock=world.clock.monotonic)
        self.told: list[SharedRecords] = []
        self.gaps = 0
        self.records.on_new = self.told.append
        self.records.on_gap = self._gap

    def _gap(self) -> None:
        self.gaps += 1

    def slots(self) -> tuple[np.ndarray, np.ndarray]:
        return unpack(self.world.table())

    def id_of(self, last: int) -> int:
        wanted = IPv4Address(f"10.0.0.{last}")
        return next(number for number, entry in self.world.plane.read_backends().items() if entry.address == wanted)

    async def take(self, records: SharedRecords) -> None:
        before = self._all_counts()
        self.records.take(records)
        await until(lambda: self._all_counts() >= before + len(records))

    def _all_counts(self) -> int:
        counts = self.records.counts
        waiting = sum(len(each) for _, each in self.records._unplaced)
        return counts.inserted + counts.known + counts.refused + counts.unplaced + waiting

    def recorded(self) -> dict[int, int]:
        """The backends in records, by the client's port."""
        flows = self.world.plane.scan_flows()
        return dict(zip(flows.source_port.tolist(), flows.backend.tolist(), strict=True))


async def until(is_so: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)


@asynccontextmanager
async def node(path: Path, capacity: Capacity | None = None, lasts: tuple[int, ...] = (1, 2, 3)):
    world = World(path, capacity)
    async with world.running() as door:
        await with_backends(door, *lasts)
        if len(lasts) > 1:
            await settle(world, door)
        one = Node(world, door)
        await one.records.start()
        try:
            yield one
        finally:
            await one.records.stop()


async def settle(world: World, door: Door) -> None:
    """Let the slots that adding backends has moved be steady again."""
    for _ in range(8):
        world.clock.advance(31)
        await asyncio.sleep(0.03)
    await until(lambda: not door.manager._writer.applier.unsettled)


def run(path: Path, scenario: Callable[[Node], Awaitable[None]], capacity: Capacity | None = None) -> None:
    async def inner() -> None:
        async with node(path, capacity) as one:
            await scenario(one)

    asyncio.run(inner())


def record(port: int, last: int, *, age: float = 0.0, flags: int = OPENED) -> SharedRecords:
    """What a peer tells of the connection from this port, with the backend 10.0.0.`last`."""
    told = np.zeros(1, SHARED_RECORD)
    told["source"] = (0, int(ip_address(CLIENT)))
    told["destination"] = (0, int(WEB.key.address))
    told["backend"] = (0, int(ip_address(f"10.0.0.{last}")))
    told["source_port"], told["destination_port"] = port, WEB.key.port
    told["version"] = told["backend_version"] = 4
    told["protocol"], told["flags"], told["age"] = 6, 1 | flags, age
    return told


def slot_of_port(port: int) -> int:
    return int(slot_of(flow_hash(int(ip_address(CLIENT)), port, WEB.key.port))[0])


def port_owned_by(one: Node, last: int, *, nth: int = 0) -> int:
    return one.world.flow_to(one.id_of(last), nth=nth)[1]


def test_peers_are_told_of_what_the_program_hands_out_by_addresses(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        assert Feature.SYNC in one.world.plane.features
        flow = np.zeros(2, layout.SHARED_FLOW)
        flow["source"] = (int(ip_address(CLIENT)) << 32, 0)
        flow["destination"] = (int(WEB.key.address) << 32, 0)
        flow["source_port"], flow["destination_port"] = 4000, 443
        flow["backend"], flow["flags"] = (one.id_of(2), 999), 0x21
        flow["version"], flow["protocol"] = 4, 6
        flow["epoch"][0] = one.world.plane.read_backends()[one.id_of(2)].epoch
        one.world.plane.shared.put(flow)
        await until(lambda: bool(one.told))
        assert one.told[0].tobytes() == record(4000, 2, flags=OPENED).tobytes(), "the one of no backend is left out"
        assert one.records.counts.made == 1

    run(tmp_path / "state.db", scenario)


def test_losing_some_is_a_gap(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        one.world.plane.shared.losses = 7
        one.world.plane.shared.put(np.zeros(0, layout.SHARED_FLOW))
        await until(lambda: one.gaps == 1)
        assert one.records.counts.lost == 7

    run(tmp_path / "state.db", scenario)


def test_whoever_forges_connections_cannot_have_more_told_than_peers_take(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        flows = np.zeros(60_000, layout.SHARED_FLOW)
        flows["backend"], flows["version"] = one.id_of(2), 4
        flows["epoch"] = one.world.plane.read_backends()[one.id_of(2)].epoch
        one.world.plane.shared.put(flows)
        await until(lambda: one.gaps == 1)
        assert (one.records.counts.made, one.records.counts.lost) == (50_000, 10_000)
        one.world.clock.advance(1)
        one.world.plane.shared.put(flows)
        await until(lambda: one.gaps == 2)
        assert (one.records.counts.made, one.records.counts.lost) == (100_000, 20_000)

    run(tmp_path / "state.db", scenario)


def test_records_of_many_destinations_are_placed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flip waits while they are: a VIP that is a prefix has as many destinations as it has addresses and ports."""
    hashed: list[int] = []

    def counted(sources: np.ndarray, *more: Any, **named: Any) -> np.ndarray:
        hashed.append(len(sources))
        return flow_hash(sources, *more, **named)

    async def scenario(one: Node) -> None:
        prefix = VipKey(IPv4Address("203.0.114.0"), 0, Protocol.TCP, 24)
        await one.door.create_vip(replace(WEB, key=prefix, name="all"))
        await one.door.create_backend("all", backend(1))
        many = np.repeat(record(4000, 1), 512)
        many["destination"][:, 1] = int(prefix.address) + np.arange(512) % 256
        many["destination_port"] = 1 + np.arange(512)
        monkeypatch.setattr("xdplb.balance.hashing.flow_hash", counted)
        await one.take(many)
        assert one.records.counts.known == 512
        assert hashed == [500, 12]

    run(tmp_path / "state.db", scenario)


def test_what_has_no_place_is_looked_at_again_only_when_there_may_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: Node) -> None:
        taken: list[int] = []
        take = one.writer.applier.take

        def counted(records: SharedRecords) -> Arrived:
            taken.append(len(records))
            return take(records)

        monkeypatch.setattr(one.writer.applier, "take", counted)
        await one.take(record(4000, 9))
        for _ in range(4):
            one.world.clock.advance(0.6)
            one.records.take(record(port_owned_by(one, 2), 2))  # so that it looks
            await asyncio.sleep(0.02)
        assert len(taken) == 6, "five that came, and one more try"
        await one.door.create_backend(str(WEB.key), backend(9, weight=0))
        one.world.clock.advance(0.6)
        one.records.take(record(port_owned_by(one, 2), 2))
        await until(lambda: one.recorded() == {4000: one.id_of(9)})

    run(tmp_path / "state.db", scenario)


def test_a_record_that_says_what_its_steady_slot_says_is_not_written(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        await one.take(record(port_owned_by(one, 2), 2))
        assert (one.recorded(), one.records.counts.known) == ({}, 1)

    run(tmp_path / "state.db", scenario)


def test_a_record_that_says_otherwise_pins_its_slot_until_it_has_ended(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        port = port_owned_by(one, 2)
        await one.take(record(port, 3))
        assert one.recorded() == {port: one.id_of(3)}
        owners, previous = one.slots()
        assert np.flatnonzero(previous != STEADY).tolist() == [slot_of_port(port)]
        assert previous[slot_of_port(port)] == PINNED
        assert owners[slot_of_port(port)] == one.id_of(2)
        for _ in range(20):  # scans come and go: the connection lives
            await asyncio.sleep(0.005)
        assert one.recorded() == {port: one.id_of(3)}
        one.world.clock.advance(WEB.idle_timeout_seconds * 4 / 3 + 2)
        await until(lambda: not one.recorded())
        assert not one.slots()[1].any()

    run(tmp_path / "state.db", scenario)


def test_a_record_of_a_slot_that_moves_later_counts(tmp_path: Path) -> None:
    """The peer has taken a drain that this balancer takes only now."""

    async def scenario(one: Node) -> None:
        port = port_owned_by(one, 2)
        await one.take(record(port, 3))
        await one.door.drain(str(WEB.key), "10.0.0.2")
        _, previous = one.slots()
        assert previous[slot_of_port(port)] == one.id_of(2)
        assert one.recorded() == {port: one.id_of(3)}

    run(tmp_path / "state.db", scenario)


def test_a_scan_from_before_a_record_came_does_not_settle_its_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: Node) -> None:
        port = port_owned_by(one, 2)
        await one.take(record(port, 3))
        async with one.writer._queue:
            one.world.plane.delete_flows(one.world.plane.scan_flows())
            stale = await one.door.manager._flows._scan()  # sees no record in the pinned slot
            one.writer.applier.take(record(port, 3))
            one.writer.applier.settle(stale)
        assert one.recorded() == {port: one.id_of(3)}
        assert one.slots()[1][slot_of_port(port)] == PINNED

    run(tmp_path / "state.db", scenario)


def test_what_no_scan_can_settle_is_not_remembered(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        await one.door.patch_vip(str(WEB.key), {"tracking": "always", "sync": "all"})
        await until(lambda: not one.writer.applier.unsettled)
        ports = [port_owned_by(one, 2, nth=nth) for nth in range(5)]
        for port in ports:
            await one.take(record(port, 2))
        assert sorted(one.recorded()) == sorted(ports)
        assert not one.writer.applier._told
        await one.door.drain(str(WEB.key), "10.0.0.2")
        await one.take(record(port_owned_by(one, 3), 2))
        await until(lambda: not one.writer.applier._told)
        assert one.writer.applier.unsettled

    run(tmp_path / "state.db", scenario)


def test_a_record_waits_for_its_backend(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        port = port_owned_by(one, 2)
        await one.take(record(port, 9))
        assert one.recorded() == {}
        await one.door.create_backend(str(WEB.key), backend(9, weight=0))
        one.world.clock.advance(1)
        await until(lambda: bool(one.recorded()))
        assert one.recorded() == {port: one.id_of(9)}

    run(tmp_path / "state.db", scenario)


def test_a_record_without_a_place_is_given_up(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        elsewhere = record(4000, 2)
        elsewhere["destination"] = (0, 5)
        await one.take(np.concatenate([record(4000, 9), elsewhere]))
        one.world.clock.advance(11)
        await until(lambda: one.records.counts.unplaced == 2)
        assert not one.records._unplaced

    run(tmp_path / "state.db", scenario)


def test_a_peer_cannot_fill_the_table(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        many = np.repeat(record(0, 3), 3000)
        many["source_port"] = np.arange(2000, 5000)
        await one.take(many)
        await asyncio.sleep(0.02)
        assert len(one.recorded()) <= 512
        assert one.records.counts.refused >= 2000

    run(tmp_path / "state.db", scenario, Capacity(flows=1024))


def test_what_has_ended_is_noted_and_not_inserted(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        port = port_owned_by(one, 2)
        await one.take(record(port, 3, flags=FIN))
        assert one.recorded() == {}
        await one.take(record(port, 3))
        await one.take(record(port, 3, flags=FIN))
        assert one.world.plane.scan_flows().flags.tolist() == [1 | FIN | layout.FLOW_FROM_PEER]

    run(tmp_path / "state.db", scenario)


@pytest.mark.parametrize(
    ("own_age", "told_age", "flags", "is_taken"),
    [
        (5.0, 0.0, OPENED, True),
        (5.0, 0.0, 0, True),
        (1.0, 0.0, 0, False),  # it may be no more than what the slot says there of old connections
        (1.0, 0.0, OPENED, True),
        (0.0, 5.0, OPENED, False),
    ],
)
def test_of_two_that_name_other_backends_the_later_counts(
    tmp_path: Path, own_age: float, told_age: float, flags: int, is_taken: bool
) -> None:
    async def scenario(one: Node) -> None:
        port = port_owned_by(one, 2)
        one.world.plane.add_flow(
            CLIENT,
            port,
            WEB.key,
            backend=one.id_of(1),
            epoch=one.world.plane.read_backends()[one.id_of(1)].epoch,
            age=own_age,
        )
        await one.take(record(port, 3, age=told_age, flags=flags))
        assert one.recorded() == {port: one.id_of(3 if is_taken else 1)}

    run(tmp_path / "state.db", scenario)


def test_a_fresh_balancer_takes_over_the_slots_that_move(tmp_path: Path) -> None:
    """One that drains, and one that starts in the middle: it must know where old connections are."""

    async def inner() -> None:
        async with node(tmp_path / "old.db") as old, node(tmp_path / "new.db") as new:
            port = port_owned_by(old, 2)
            await old.door.drain(str(WEB.key), "10.0.0.2")
            owner = int(old.slots()[0][slot_of_port(port)])
            last = next(last for last in (1, 3) if old.id_of(last) == owner)
            old.world.plane.add_flow(
                CLIENT, port, WEB.key, backend=owner, epoch=old.world.plane.read_backends()[owner].epoch
            )
            old.world.clock.advance(20)
            state = await old.records.unsettled()
            assert [each.addresses for each in state.slots] == [(IPv4Address("10.0.0.2"),)]
            assert state.slots[0].ages.min() == pytest.approx(20, abs=1.5)
            await new.door.drain(str(WEB.key), "10.0.0.2")
            await settle(new.world, new.door)  # as one that has found the backend drained when it started
            assert not new.slots()[1].any()
            await new.records.take_over(state)
            assert new.slots()[1].astype(bool).tolist() == old.slots()[1].astype(bool).tolist()
            assert set(new.slots()[1][new.slots()[1] != 0].tolist()) == {new.id_of(2)}
            assert new.recorded() == {port: new.id_of(last)}
            new.world.clock.advance(68)
            await asyncio.sleep(0.03)
            assert set(new.slots()[1].tolist()) == {0, new.id_of(2)}, "old connections may still be silent"
            new.world.clock.advance(4)
            await until(lambda: new.id_of(2) not in new.slots()[1].tolist())

    asyncio.run(inner())


def test_slots_told_wrong_are_left_out(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        numbers = np.array([0, 65537, 4_000_000_000], np.uint32)
        told = SharedSlots(
            WEB.key,
            (IPv4Address("10.0.0.9"),),
            numbers,
            np.array([0, 0, 7], np.uint16),
            np.zeros(3, np.float32),
        )
        other = replace(told, key=replace(WEB.key, port=1, last_port=1))
        await one.records.take_over(SharedState((told, other), np.zeros(0, SHARED_RECORD)))
        assert not one.slots()[1].any()

    run(tmp_path / "state.db", scenario)


def test_peers_are_told_again_of_what_lives_here(tmp_path: Path) -> None:
    async def scenario(one: Node) -> None:
        port, theirs = port_owned_by(one, 2), port_owned_by(one, 2, nth=1)
        await one.door.drain(str(WEB.key), "10.0.0.2")
        epoch = one.world.plane.read_backends()[one.id_of(2)].epoch
        await one.take(record(theirs, 2))
        one.told.clear()
        one.world.plane.add_flow(CLIENT, port, WEB.key, backend=one.id_of(2), epoch=epoch)
        one.records._refreshed_at = one.world.clock.seconds
        one.world.clock.advance(21)
        one.world.plane.add_flow(CLIENT, port, WEB.key, backend=one.id_of(2), epoch=epoch, age=4)
        await until(lambda: bool(one.told))
        assert [(int(told["source_port"]), float(told["age"])) for told in np.concatenate(one.told)] == [(port, 4.0)]

    run(tmp_path / "state.db", scenario)
