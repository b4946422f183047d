# SPDX-License-Identifier: Apache-2.0
"""Certificates of drains: what became of each connection, what was cut, what may not have been seen."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run, with_backends
from xdplb.control.events import DrainChanged, Event
from xdplb.control.state.certificate import Certificate, Counted, KnownBy, Outcome
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST
from xdplb.dataplane.plane import BackendCounters
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import QuicIds, Tracking, Vip, VipKey

OPEN = FLOW_ESTABLISHED
ALWAYS = replace(WEB, tracking=Tracking.ALWAYS)


def certificate_of(manager: Door) -> Certificate:
    certificate: Certificate | None = manager.backend("web", "10.0.0.1").certificate
    assert certificate is not None
    return certificate


async def until_it_is(manager: Door, outcome: Outcome) -> None:
    def is_so() -> bool:
        certificate = manager.backend("web", "10.0.0.1").certificate
        return certificate is not None and certificate.outcome is outcome

    await until(is_so)


def counted(manager: Door) -> Counted | None:
    certificate = manager.backend("web", "10.0.0.1").certificate
    return None if certificate is None else certificate.counted


def told(manager: Door) -> list[DrainChanged]:
    """The events of drains from now on."""
    found: list[DrainChanged] = []

    def listen(event: Event) -> None:
        if isinstance(event, DrainChanged):
            found.append(event)

    manager.manager.events.listen(listen)
    return found


def flow(world: World, port: int, flags: int = OPEN, *, backend: int = 1, age: float = 0.0, vip: Vip = WEB) -> None:
    world.plane.add_flow("198.51.100.9", port, vip.key, backend=backend, flags=flags, age=age)


async def draining(world: World, manager: Door, *ports: int, vip: Vip = WEB, **times: Any) -> None:
    """Begin to drain 10.0.0.1 (id 1) of two, with connections from these ports."""
    world.plane.count_backend(1, BackendCounters(packets=500, new_flows=40))
    await with_backends(manager, 1, 2, vip=vip)
    world.plane.count_backend(1, BackendCounters(packets=500, new_flows=40))
    await manager.drain("web", "10.0.0.1", **times)
    for port in ports:
        flow(world, port, vip=vip)


def test_each_connection_is_counted_with_how_it_ended(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        events = told(manager)
        flow(world, 1, FLOW_RST, age=30)
        flow(world, 2, OPEN | FLOW_FIN, age=30)
        flow(world, 3, OPEN, backend=2)
        await draining(world, manager, *range(11, 17))
        flow(world, 21, 0)
        await until(lambda: counted(manager) == Counted(left=7))
        flow(world, 11, OPEN | FLOW_FIN)
        flow(world, 12, OPEN | FLOW_RST)
        flow(world, 13, 0, backend=2)  # dialled anew
        world.clock.advance(20)
        flow(world, 15)
        flow(world, 16)
        await until(lambda: counted(manager) == Counted(closed=1, reset=1, redialled=1, unanswered=1, left=3))
        world.clock.advance(45)
        await until(lambda: counted(manager) == Counted(closed=1, reset=1, redialled=1, unanswered=1, idle=1, left=2))
        world.clock.advance(45)
        await until_it_is(manager, Outcome.DRAINED)
        done = certificate_of(manager)
        assert done.counted == Counted(closed=1, reset=1, redialled=1, unanswered=1, idle=3)
        assert (done.counted.seen, done.counted.ended, done.silent_at_most) == (7, 7, 0)
        assert (done.known_by, done.seconds) == (KnownBy.RECORDS_SINCE, 110)
        assert "has no connection any more" in done.why
        assert [event.state for event in events] == ["draining", "drained"]
        data: Any = events[1].data()
        assert (data["flows"], data["certificate"]["seen"], data["certificate"]["cut"]) == (0, 7, 0)
        assert events[1].line().endswith("seen=7 ended=7 handed_over=0 cut=0 silent_at_most=0 seconds=110.0")

    run(tmp_path, scenario)


def test_a_short_drain_says_how_many_it_may_not_have_seen(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await draining(world, manager, 11, 12, quiet_seconds=5)
        await until(lambda: counted(manager) == Counted(left=2))
        flow(world, 11, OPEN | FLOW_RST)
        flow(world, 12, OPEN | FLOW_RST)
        world.clock.advance(6)
        await until_it_is(manager, Outcome.DRAINED)
        done = certificate_of(manager)
        assert (done.counted, done.silent_at_most) == (Counted(reset=2), 38), "of 40 ever opened"
        assert "in the 6 s since the drain began" in done.why

    run(tmp_path, scenario)


def test_where_every_connection_is_recorded_none_is_missed(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        for port in (11, 12):
            flow(world, port, vip=ALWAYS, age=20)
        await draining(world, manager, vip=ALWAYS, quiet_seconds=1)
        await until(lambda: counted(manager) == Counted(left=2))
        done = certificate_of(manager)
        assert (done.known_by, done.silent_at_most) == (KnownBy.RECORDS, 0)

    run(tmp_path, scenario)


def test_after_a_boot_nobody_claims_that_every_connection_has_a_record(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        await draining(world, manager, 11, 12, vip=ALWAYS, quiet_seconds=30)
        await until(lambda: counted(manager) == Counted(left=2))

    async def later(world: World, manager: Door) -> None:
        flow(world, 11, OPEN | FLOW_RST)
        world.clock.advance(31)
        await until_it_is(manager, Outcome.DRAINED)
        done = certificate_of(manager)
        assert (done.known_by, done.restarts) == (KnownBy.RECORDS_SINCE, 1)
        assert done.silent_at_most == 39, "of 40 ever opened"

    world = World(tmp_path)

    async def inner() -> None:
        async with world.running() as manager:
            await first(world, manager)
        world.plane.delete_flows(world.plane.scan_flows())
        async with world.running() as manager:
            await later(world, manager)

    asyncio.run(inner())


def test_at_the_deadline_what_is_left_is_cut_and_stays_so_until_somebody_undrains(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        events = told(manager)
        await draining(world, manager, 11, 12, 13, timeout_seconds=30, quiet_seconds=1, cut_at_deadline=True)
        drain = manager.backend("web", "10.0.0.1").drain
        assert drain is not None
        assert drain.cut_at_deadline
        await until(lambda: counted(manager) == Counted(left=3))
        flow(world, 11, OPEN | FLOW_RST)
        world.clock.advance(29)
        flow(world, 12)
        flow(world, 13)
        await until(lambda: counted(manager) == Counted(reset=1, left=2))
        assert world.plane.read_backends()[1].usable
        world.clock.advance(2)
        await until(lambda: not world.plane.read_backends()[1].usable)
        await until_it_is(manager, Outcome.CUT)
        assert counted(manager) == Counted(reset=1, cut=2)
        await until(lambda: 1 not in world.plane.scan_flows().backend)
        view = manager.backend("web", "10.0.0.1")
        assert view.reason == "cut off at the deadline of its drain"
        assert view.backend.admin_state == "drain"
        assert view.drain is not None
        assert (view.drain.state, view.drain.flows) == ("cut", 0)
        assert [event.state for event in events] == ["draining", "cut"]

    async def after_a_restart(world: World, manager: Door) -> None:
        assert not world.plane.read_backends()[1].usable
        assert (certificate_of(manager).outcome, counted(manager)) == (Outcome.CUT, Counted(reset=1, cut=2))
        await asyncio.sleep(0.05)
        assert (certificate_of(manager).outcome, counted(manager)) == (Outcome.CUT, Counted(reset=1, cut=2))
        await manager.undrain("web", "10.0.0.1")
        assert world.plane.read_backends()[1].usable
        assert certificate_of(manager).outcome is Outcome.CUT, "the last certificate stays"
        assert manager.backend("web", "10.0.0.1").share > 0.49

    run(tmp_path, first, after_a_restart)


def test_a_deadline_that_passes_while_no_daemon_runs_cuts_at_the_next_start(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        await draining(world, manager, 11, 12, timeout_seconds=30, cut_at_deadline=True)
        await until(lambda: counted(manager) == Counted(left=2))
        flow(world, 12, OPEN | FLOW_RST)
        await until(lambda: counted(manager) == Counted(reset=1, left=1))

    async def later(world: World, manager: Door) -> None:
        assert not world.plane.read_backends()[1].usable, "from the first plan on"
        await until_it_is(manager, Outcome.CUT)
        assert counted(manager) == Counted(reset=1, cut=1)
        assert certificate_of(manager).restarts == 1

    world = World(tmp_path)

    async def inner() -> None:
        async with world.running() as manager:
            await first(world, manager)
        world.clock.advance(31)
        async with world.running() as manager:
            await later(world, manager)

    asyncio.run(inner())


def test_a_later_deadline_takes_a_cut_back(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await draining(world, manager, 11, timeout_seconds=30, quiet_seconds=1, cut_at_deadline=True)
        world.clock.advance(31)
        await until_it_is(manager, Outcome.CUT)
        await until(lambda: 1 not in world.plane.scan_flows().backend)
        await manager.drain("web", "10.0.0.1", timeout_seconds=90, quiet_seconds=1, cut_at_deadline=True)
        assert world.plane.read_backends()[1].usable
        await until_it_is(manager, Outcome.DRAINED)
        assert counted(manager) == Counted(cut=1)

    run(tmp_path, scenario)


def test_what_is_drained_before_its_deadline_is_not_cut(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await draining(world, manager, timeout_seconds=30, quiet_seconds=1, cut_at_deadline=True)
        world.clock.advance(2)
        await until_it_is(manager, Outcome.DRAINED)
        world.clock.advance(60)
        await asyncio.sleep(0.05)
        assert certificate_of(manager).outcome is Outcome.DRAINED
        assert world.plane.read_backends()[1].usable

    run(tmp_path, scenario, scenario_after_drained)


async def scenario_after_drained(world: World, manager: Door) -> None:
    assert world.plane.read_backends()[1].usable
    assert certificate_of(manager).outcome is Outcome.DRAINED


def test_what_is_drained_stays_so_when_a_connection_speaks_that_was_not_seen(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        events = told(manager)
        await draining(world, manager, timeout_seconds=30, quiet_seconds=1, cut_at_deadline=True)
        await until_it_is(manager, Outcome.DRAINING)
        world.clock.advance(2)
        await until_it_is(manager, Outcome.DRAINED)
        flow(world, 11)
        flow(world, 12, backend=2)
        await manager.drain("web", "10.0.0.2", timeout_seconds=900)  # so that there are scans
        await until(lambda: manager.backend("web", "10.0.0.1").flows == 1)
        world.clock.advance(31)
        flow(world, 11)
        await asyncio.sleep(0.05)
        drain = manager.backend("web", "10.0.0.1").drain
        assert drain is not None
        assert (drain.state, certificate_of(manager).seconds) == ("drained", 2)
        assert world.plane.read_backends()[1].usable
        assert [event.state for event in events if event.backend == "10.0.0.1"] == ["draining", "drained"]
        await manager.drain("web", "10.0.0.1", timeout_seconds=900, quiet_seconds=90)
        await until_it_is(manager, Outcome.DRAINING)
        assert counted(manager) == Counted(left=1), "it is watched for longer now"

    run(tmp_path, scenario)


def test_a_drain_of_quic_that_is_over_stays_so_after_a_restart(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        quic = Vip(VipKey.parse("203.0.113.10:443/udp"), name="web", quic=QuicIds(server_id_bytes=2))
        await draining(world, manager, vip=quic, timeout_seconds=30, quiet_seconds=5, cut_at_deadline=True)
        await until_it_is(manager, Outcome.DRAINING)
        await asyncio.sleep(0.05)
        world.clock.advance(6)
        await until_it_is(manager, Outcome.DRAINED)
        world.clock.advance(60)

    async def later(world: World, manager: Door) -> None:
        events = told(manager)
        await asyncio.sleep(0.1)
        assert certificate_of(manager).outcome is Outcome.DRAINED
        assert world.plane.read_backends()[1].usable, "nothing is left to be cut"
        assert events == []

    run(tmp_path, first, later)


def test_what_was_known_when_it_began_stays_known_however_the_vip_tracks(tmp_path: Path) -> None:
    udp = Vip(VipKey.parse("203.0.113.10:443/udp"), name="web", tracking=Tracking.ALWAYS)

    async def scenario(world: World, manager: Door) -> None:
        await draining(world, manager, 11, 12, vip=udp)
        await until(lambda: counted(manager) == Counted(left=2))
        await manager.patch_vip("web", {"tracking": "auto"})
        await until(lambda: counted(manager) == Counted(handed_over=2))
        assert (certificate_of(manager).known_by, certificate_of(manager).silent_at_most) == (KnownBy.RECORDS, 0)
        await manager.undrain("web", "10.0.0.1")
        world.clock.advance(1)
        await manager.drain("web", "10.0.0.1")
        await until(lambda: manager.backend("web", "10.0.0.1").certificate is not None)
        await manager.patch_vip("web", {"tracking": "always"})
        world.clock.advance(1)
        await asyncio.sleep(0.05)
        assert (certificate_of(manager).known_by, certificate_of(manager).silent_at_most) == (KnownBy.SLOTS, 0)

    run(tmp_path, scenario)


def test_udp_flows_are_handed_over_at_the_deadline(tmp_path: Path) -> None:
    udp = Vip(VipKey.parse("203.0.113.10:443/udp"), name="web", tracking=Tracking.ALWAYS)

    async def scenario(world: World, manager: Door) -> None:
        await draining(world, manager, 11, 12, vip=udp, timeout_seconds=30, cut_at_deadline=True)
        await until(lambda: counted(manager) == Counted(left=2))
        world.clock.advance(31)
        await until(lambda: counted(manager) == Counted(handed_over=2))

    run(tmp_path, scenario)


def test_udp_without_records_and_quic_say_what_is_not_known(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        udp = Vip(VipKey.parse("203.0.113.10:443/udp"), name="web")
        await draining(world, manager, vip=udp, quiet_seconds=1)
        await until(
            lambda: (found := manager.backend("web", "10.0.0.1").certificate) is not None and "UDP" in found.why
        )
        assert (certificate_of(manager).known_by, certificate_of(manager).silent_at_most) == (KnownBy.SLOTS, 0)
        assert counted(manager) is None
        await manager.undrain("web", "10.0.0.1")
        await manager.patch_vip("web", {"quic": {"server_id_bytes": 2, "config_id": 0}})
        world.clock.advance(1)
        await manager.drain("web", "10.0.0.1", quiet_seconds=10)
        await until_it_is(manager, Outcome.DRAINING)
        world.clock.advance(4)
        await until(lambda: certificate_of(manager).why.endswith("no packet has come for 4 s"))
        done = certificate_of(manager)
        assert (done.known_by, done.silent_at_most, done.counted) == (KnownBy.PACKET_COUNTER, None, None)
        world.clock.advance(7)
        await until_it_is(manager, Outcome.DRAINED)

    run(tmp_path, scenario)


def test_a_drain_that_is_called_off_leaves_its_certificate(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        events = told(manager)
        await draining(world, manager, 11, 12)
        await until(lambda: counted(manager) == Counted(left=2))
        await manager.undrain("web", "10.0.0.1")
        assert certificate_of(manager).outcome is Outcome.CANCELLED, "at once"
        await until(lambda: [event.state for event in events] == ["draining", "cancelled"])
        assert events[1].flows == 2
        world.clock.advance(1)
        await manager.drain("web", "10.0.0.1")
        await until(lambda: counted(manager) == Counted(left=2))
        await manager.delete_backend("web", "10.0.0.1")
        await until(lambda: [event.state for event in events[2:]] == ["draining", "cancelled"])

    async def later(world: World, manager: Door) -> None:
        await manager.create_backend("web", backend(1))
        assert manager.backend("web", "10.0.0.1").certificate is None

    run(tmp_path, scenario, later)


def test_connections_of_a_backend_that_fails_while_it_drains_break(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await draining(world, manager, 11, 12)
        await until(lambda: counted(manager) == Counted(left=2))
        world.hops.set("10.0.0.1", Resolution(None, "nobody answers"))
        await until(lambda: counted(manager) == Counted(broken=2))

    run(tmp_path, scenario)


def test_a_drain_counts_on_after_a_restart(tmp_path: Path) -> None:
    async def first(world: World, manager: Door) -> None:
        await draining(world, manager, 11, 12, 13, timeout_seconds=300)
        await until(lambda: counted(manager) == Counted(left=3))
        flow(world, 11, OPEN | FLOW_RST)
        await until(lambda: counted(manager) == Counted(reset=1, left=2))

    async def second(world: World, manager: Door) -> None:
        flow(world, 12, OPEN | FLOW_FIN)
        world.clock.advance(6)
        await until(lambda: counted(manager) == Counted(reset=1, closed=1, left=1))
        assert certificate_of(manager).restarts == 1
        world.clock.advance(61)
        await until_it_is(manager, Outcome.DRAINED)
        assert counted(manager) == Counted(reset=1, closed=1, idle=1)

    async def third(world: World, manager: Door) -> None:
        await asyncio.sleep(0.05)
        assert (certificate_of(manager).outcome, certificate_of(manager).restarts) == (Outcome.DRAINED, 1)
        assert counted(manager) == Counted(reset=1, closed=1, idle=1)

    run(tmp_path, first, second, third)
