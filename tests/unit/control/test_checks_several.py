# SPDX-License-Identifier: Apache-2.0
"""Backends with several checks: all must pass, and what is equal is run once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.fakes import TaskProber, run_in_simulated_time, until
from tests.unit.control.checked import FAIL, NO_RESULT, NOW, PASS, D, N, U
from xdplb.control.events import Events
from xdplb.control.health.book import HealthBook
from xdplb.control.health.checks import Checker
from xdplb.control.health.health_source import CheckTarget, VipWay
from xdplb.control.health.probes.result import ProbeResult
from xdplb.control.health.tally import MOST_RECENT, CheckTally, health_of_all, tallied
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Forward

ONE = HealthCheck(interval_seconds=1.0, jitter=0.0, rise=2, fall=2)
OTHER = replace(ONE, name="app", port=8080)
ADDRESS = IPv4Address("192.0.2.1")


class Ports:
    """A host on which some ports pass."""

    def __init__(self, *failing: int) -> None:
        self.failing = set(failing)
        self.tries: list[tuple[float, int]] = []

    async def probe(self, _check: HealthCheck, _host: str, port: int) -> ProbeResult:
        self.tries.append((asyncio.get_running_loop().time(), port))
        return replace(FAIL, reason=f"port {port} is closed") if port in self.failing else PASS


def target(check: HealthCheck, **fields: object) -> CheckTarget:
    return replace(CheckTarget(0, ADDRESS, check.port or 80, check), **fields)  # type: ignore[arg-type]


async def started(host: Ports) -> tuple[Checker, HealthBook]:
    checker, book = Checker(prober=TaskProber(host.probe)), HealthBook(lambda: NOW)
    await checker.start(book.flip, Events())
    return checker, book


def tally_of(check: HealthCheck, results: str) -> CheckTally:
    tally = CheckTally()
    for result in results:
        tally = tallied(check, tally, {"+": PASS, "-": FAIL, "?": NO_RESULT}[result])
    return tally


@pytest.mark.parametrize(
    ("before", "one", "other", "after", "place"),
    [
        (N, "", "", N, None),
        (N, "+", "", N, None),
        (N, "+", "+", U, None),
        (N, "+", "--", D, 1),
        (U, "+-", "+", U, None),
        (U, "+--", "+", D, 0),
        (U, "--", "--", D, 0),
        (U, "", "+", U, None),
        (D, "+", "+", D, None),  # known from before this daemon: `rise` passes are needed
        (D, "++", "+", D, None),
        (D, "++", "++", U, None),
        (D, "--+", "++", D, 0),
        (D, "--++-", "++", U, None),  # a single failure undoes nothing
        (U, "?", "?", U, None),
    ],
)
def test_all_must_pass(before: Health, one: str, other: str, after: Health, place: int | None) -> None:
    assert health_of_all((ONE, ONE), before, (tally_of(ONE, one), tally_of(ONE, other))) == (after, place)


def test_a_few_results_are_kept() -> None:
    tally = tally_of(ONE, "-" + "+" * 20 + "-?")
    assert [passed for _, passed, _, _ in tally.recent] == [None, False, *[True] * (MOST_RECENT - 2)]


def test_the_reason_names_the_check_that_failed() -> None:
    async def run() -> None:
        host = Ports()
        checker, book = await started(host)
        checker.watch({7: (target(ONE), target(OTHER))}, book.known)
        await until(lambda: 7 in book.known)
        assert book.known[7].health is U
        host.failing = {8080}
        await until(lambda: book.known[7].health is D, 10)
        assert book.known[7].reason == "app: port 8080 is closed"
        host.failing = set()
        await until(lambda: book.known[7].health is U, 10)
        assert book.known[7].reason == "app: ok"
        await checker.stop()

    run_in_simulated_time(run())


def test_a_check_that_is_added_cuts_off_no_backend_and_those_that_stay_keep_their_results() -> None:
    async def run() -> None:
        host = Ports()
        checker, book = await started(host)
        checker.watch({7: (target(ONE),)}, book.known)
        await until(lambda: checker.tallies_of(7)[0].passes == 3, 10)
        host.failing = {8080}
        checker.watch({7: (target(ONE), target(OTHER))}, book.known)
        assert [tally.passes for tally in checker.tallies_of(7)] == [3, 0]
        assert book.known[7].health is U
        await until(lambda: book.known[7].health is D, 10)
        checker.watch({7: (target(ONE),)}, book.known)
        assert checker.tallies_of(7)[0].passes > 3
        await until(lambda: book.known[7].health is U, 2)
        tries = len(host.tries)
        await asyncio.sleep(10)
        assert {port for _, port in host.tries[tries:]} == {80}, "the other one is not run any more"
        checker.watch({}, book.known)
        tries = len(host.tries)
        await asyncio.sleep(10)
        assert len(host.tries) == tries
        await checker.stop()

    run_in_simulated_time(run())


def test_a_check_that_two_vips_have_is_run_once_whatever_it_is_called() -> None:
    async def run() -> None:
        host = Ports()
        checker, book = await started(host)
        checker.watch({1: (target(ONE), target(OTHER)), 2: (target(replace(OTHER, name="x")),)}, book.known)
        await asyncio.sleep(10.5)
        assert sorted(port for _, port in host.tries).count(8080) <= 11
        host.failing = {8080}
        await until(lambda: book.known[1].health is D and book.known[2].health is D, 10)
        assert (book.known[1].reason, book.known[2].reason) == ("app: port 8080 is closed", "port 8080 is closed")
        await checker.stop()

    run_in_simulated_time(run())


def test_by_the_way_of_a_vip_each_way_is_a_check_of_its_own() -> None:
    async def run() -> None:
        checker, book = await started(Ports())
        vips = [IPv4Address(f"203.0.113.{last}") for last in (1, 2)]
        ways = [None, *(VipWay(vip, forward) for vip in vips for forward in (Forward.DR, Forward.IPIP))]
        checker.watch({number: (target(ONE, way=way),) for number, way in enumerate(ways)}, book.known)
        checker.change((), {number + 9: (target(ONE, way=way),) for number, way in enumerate(ways)}, book.known)
        await asyncio.sleep(2)
        assert checker.standing().checks == len(ways)
        await checker.stop()

    run_in_simulated_time(run())


def test_a_backend_between_states_is_checked_faster() -> None:
    async def run() -> None:
        host, check = Ports(), replace(ONE, interval_seconds=10.0, fast_interval_seconds=1.0, rise=3, fall=3)
        checker, book = await started(host)
        book.start_with({7: KnownHealth(U, "", NOW)})
        checker.watch({7: (target(check),)}, book.known)
        await asyncio.sleep(60)
        host.failing = {80}
        await until(lambda: book.known[7].health is D, 20)
        down = [at for at, _ in host.tries][-3:]
        assert down[2] - down[0] == pytest.approx(2.0)
        await asyncio.sleep(60)
        assert host.tries[-1][0] - host.tries[-2][0] == pytest.approx(10.0)
        host.failing = set()
        await until(lambda: book.known[7].health is U, 20)
        up = [at for at, _ in host.tries][-3:]
        assert up[2] - up[0] == pytest.approx(2.0)
        await checker.stop()

    run_in_simulated_time(run())
