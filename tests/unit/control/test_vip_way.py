# SPDX-License-Identifier: Apache-2.0
"""Checks by the way of a VIP's packets: when they can be run, from where, and in which words they fail."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import World, run
from xdplb.control.events import Events
from xdplb.control.health.alarms import Alarms
from xdplb.control.health.book import HealthBook
from xdplb.control.health.checks import Checker
from xdplb.control.health.health_source import CheckTarget, VipWay
from xdplb.control.health.prober import OnBroken
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.result import OnResult, ProbeResult
from xdplb.control.health.vip_way import words
from xdplb.control.plan.sources import ANY_SOURCE, Source
from xdplb.control.writing import probe_ways
from xdplb.dataplane.plane import ProbeWay, probe_mark
from xdplb.model.backend import Backend, Health
from xdplb.model.errors import PlatformError
from xdplb.model.health import HealthCheck
from xdplb.model.host import Host, OwnAddress
from xdplb.model.vip import Forward, Vip, VipKey

VIP, BACKEND, BACKEND6 = ip_address("203.0.113.10"), ip_address("10.0.0.11"), ip_address("2001:db8::11")
KEY = VipKey.parse(f"{VIP}:80/tcp")
OWN = OwnAddress(ip_address("10.0.0.2"), ip_network("10.0.0.0/24"), "eth0")
TIMEOUT = ProbeResult(passed=False, reason="no answer in 1 s", seconds=1.0, heard=False)
REFUSED = ProbeResult(passed=False, reason="connection refused", seconds=0.1)
PASS = ProbeResult(passed=True, reason="connected", seconds=0.1)
NOT_RUN = ProbeResult(passed=None, reason="?", seconds=0.0)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_ways, "_LOOK_SECONDS", 0.01)


def target(forward: Forward = Forward.DR, **fields: float) -> CheckTarget:
    check = HealthCheck(interval_seconds=0.05, **fields)  # type: ignore[arg-type]
    return CheckTarget(0, BACKEND, 80, check, VipWay(VIP, forward))


def source_of(world: World, address: str) -> Source:
    """Return where the next probe of a backend leaves from."""
    assert world.health.source_of is not None
    (number,) = [each for each, (found, *_) in world.health.targets.items() if str(found.address) == address]
    return world.health.source_of(ip_address(address), number)


async def with_check(manager: Door, *backends: Backend) -> None:
    await manager.create_vip(Vip(KEY, name="web", forward=Forward.IPIP))
    await manager.put_health_check("web", HealthCheck())
    for each in backends:
        await manager.create_backend("web", each)


# --- the data plane is told where probes go --------------------------------------------------------------------------


def test_the_programs_are_there_as_long_as_a_check_needs_them(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_check(manager, Backend(BACKEND))
        await until(lambda: world.plane.probe_ways == {1: ProbeWay(VIP)})
        await until(lambda: source_of(world, str(BACKEND)) == Source(mark=probe_mark(1)))
        await manager.put_health_check("web", HealthCheck(port=8080))  # none of the VIP's: at the backend's own address
        await until(lambda: world.plane.probe_ways is None)
        assert [each.way for (each,) in world.health.targets.values()] == [None]

    async def begun_again(world: World, manager: Door) -> None:
        await until(lambda: "close_probing" in world.plane.calls)  # what a daemon before may have left
        assert manager.vip("web").operating_status is not None

    run(tmp_path, scenario, begun_again)


def test_a_check_that_cannot_be_sent_that_way_is_not_run_and_says_why(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        refusal = PlatformError("the kernel refuses a tc program on eth0: no", hint="look at `tc qdisc`")
        world.plane.failures["open_probing"] += [refusal]
        await with_check(manager, Backend(BACKEND))
        await until(lambda: len(manager.status().drift) == 1)
        (drift,) = manager.status().drift
        assert (drift.kind, drift.what) == ("program", "probes")
        reason = f"probes cannot be sent by the way of the VIP's packets: {refusal.detail} (look at `tc qdisc`)"
        assert source_of(world, str(BACKEND)) == Source(obstacle=reason) == Source(obstacle=drift.reason)
        world.clock.advance(5)
        await until(lambda: world.health.rechecked == [str(BACKEND)])
        assert source_of(world, str(BACKEND)).mark == probe_mark(1)
        assert not manager.status().drift

    run(tmp_path, scenario)


def test_probes_of_mixed_families_leave_from_an_address_of_the_vips(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_check(manager, Backend(BACKEND6))
        await until(lambda: world.plane.probe_ways == {1: ProbeWay(VIP)})
        no_address = "this host has no IPv4 address that is no VIP's"
        await until(lambda: no_address in source_of(world, str(BACKEND6)).obstacle)
        world.hops.own_addresses(Host((OWN,)))
        await until(lambda: world.plane.probe_ways == {1: ProbeWay(VIP, OWN.address)})
        await until(lambda: world.health.rechecked == [str(BACKEND6)])

    run(tmp_path, scenario)


def test_what_another_process_removes_is_put_back_and_told(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        told: list[str] = []
        manager.manager.events.listen(lambda kept: told.append(str(kept)))
        await with_check(manager, Backend(BACKEND))
        await until(lambda: world.plane.probe_ways == {1: ProbeWay(VIP)})
        world.plane.probing_lost = ["eth0"]
        await until(lambda: any("has removed the tc programs of probes from eth0" in each for each in told))

    run(tmp_path, scenario)


# --- words -----------------------------------------------------------------------------------------------------------


def test_words_say_whether_the_backend_or_its_vip_is_wrong() -> None:
    dr, ipip = target(), target(Forward.IPIP)
    there, own = f"{VIP}:80", f"{BACKEND}:80"
    assert words(dr, TIMEOUT, None) == f"for {there} by dr: no answer in 1 s"
    assert words(dr, TIMEOUT, NOT_RUN) == words(dr, TIMEOUT, None)
    assert words(dr, TIMEOUT, TIMEOUT) == f"for {there} by dr: no answer in 1 s; no answer at {own} either"
    assert words(dr, TIMEOUT, REFUSED) == f"for {there} by dr: no answer in 1 s; at {own}: connection refused"
    assert words(dr, TIMEOUT, PASS) == (
        f"answers at {own}, but not for {there} by dr: is the VIP on its lo, does rp_filter let it in?"
        f" `xdplb backend-host show {VIP} --forward dr` there tells; no answer in 1 s"
    )
    from_one, from_other = (
        replace(REFUSED, reason=f"{REFUSED.reason} (asked from 10.0.0.2:{port})") for port in (1, 2)
    )
    assert words(dr, from_one, from_other) == f"for {there} by dr: {from_one.reason}; the same at {own}"
    assert "is the VIP on its lo, does it unwrap, does" in words(ipip, TIMEOUT, PASS)
    refused = f"answers at {own}, but not for {there} by ipip: does its service listen on {VIP} too?; "
    assert words(ipip, REFUSED, PASS) == refused + "connection refused"


class Answered:
    """A probe that is over in a moment."""

    def __init__(self, answer: asyncio.Handle) -> None:
        self.cut = answer.cancel


class Backends:
    """Answers for the VIP and at the backend's own address as a test says, and notes what was asked."""

    is_behind = False

    def __init__(self) -> None:
        self.vip, self.own = TIMEOUT, PASS
        self.asked: list[str] = []

    def start(self, alarms: Alarms, on_broken: OnBroken) -> None:
        pass

    def stop(self) -> None:
        pass

    def begin(self, aim: Aim, source: Source, on_result: OnResult) -> Answered:
        by_vip = aim.prepare is not None
        assert by_vip == bool(source.mark) == (aim.called == f"{VIP}:80")
        self.asked.append("vip" if by_vip else "own")
        return Answered(asyncio.get_running_loop().call_soon(on_result, self.vip if by_vip else self.own))


def by_vip(_: object, backend_id: int | None) -> Source:
    return ANY_SOURCE if backend_id is None else Source(mark=probe_mark(backend_id))


def test_the_own_address_is_asked_too_for_the_words_alone() -> None:
    async def scenario() -> None:
        backends, book = Backends(), HealthBook(lambda: None)  # type: ignore[arg-type,return-value]
        flips: list[tuple[Health, str]] = []

        def flip(ids: object, health: Health, reason: str) -> None:
            book.flip(ids, health, reason)  # type: ignore[arg-type]
            flips.append((health, reason))

        checker = Checker(prober=backends)
        await checker.start(flip, Events(), None, by_vip)
        checker.watch({7: (target(fall=3),)}, book.known)
        await until(lambda: len(flips) == 1)
        assert flips[0][0] is Health.DOWN
        assert flips[0][1].startswith(f"answers at {BACKEND}:80, but not for {VIP}:80 by dr: is the VIP on its lo")
        await until(lambda: backends.asked.count("vip") > 10)
        assert backends.asked.count("own") <= 2  # the first failure, and the flip
        backends.vip = PASS
        await until(lambda: flips[-1] == (Health.UP, "connected"))
        await checker.stop()

    asyncio.run(scenario())


def test_other_words_leave_the_time_since_when_it_is_down() -> None:
    times = iter([datetime(2030, 1, day, tzinfo=UTC) for day in (1, 2, 3)])
    book = HealthBook(lambda: next(times))
    book.flip([7], Health.DOWN, "no answer")
    book.flip([7], Health.DOWN, "answers at its own address")
    known = book.known[7]
    assert (known.reason, known.since.day) == ("answers at its own address", 1)
    book.flip([7], Health.UP, "")
    assert book.known[7].since.day == 3


def test_one_failure_that_is_enough_is_told_at_once_and_better_words_follow() -> None:
    async def scenario() -> None:
        backends, book = Backends(), HealthBook(lambda: None)  # type: ignore[arg-type,return-value]
        flips: list[str] = []

        def flip(ids: object, health: Health, reason: str) -> None:
            book.flip(ids, health, reason)  # type: ignore[arg-type]
            flips.append(reason)

        checker = Checker(prober=backends)
        await checker.start(flip, Events(), None, by_vip)
        checker.watch({7: (target(fall=1),)}, book.known)
        await until(lambda: len(flips) == 2)
        assert flips[0] == f"for {VIP}:80 by dr: no answer in 1 s"
        assert flips[1].startswith(f"answers at {BACKEND}:80, but not for {VIP}:80 by dr")
        (tally,) = checker.tallies_of(7)
        assert tally.last is not None
        assert tally.last.reason == flips[1]
        await checker.stop()

    asyncio.run(scenario())
