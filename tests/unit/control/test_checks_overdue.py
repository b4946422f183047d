# SPDX-License-Identifier: Apache-2.0
"""Checks that this host cannot run in time: no backend flips for that, and it is said."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.fakes import TaskProber, run_in_simulated_time, until
from tests.unit.control.checked import NO_RESULT, NOW, PASS, D, Host, U, target
from xdplb.control.events import ChecksNotRun, ChecksRunAgain, Event, Events
from xdplb.control.health.book import HealthBook
from xdplb.control.health.checks import Checker
from xdplb.control.health.health_source import CheckTarget
from xdplb.control.health.probes.result import ProbeResult
from xdplb.control.health.standing import Standing
from xdplb.control.plan.sources import ANY_SOURCE, Source
from xdplb.model.backend import KnownHealth
from xdplb.model.health import HealthCheck

STARVED = ProbeResult(passed=None, reason="this host could not run the check: no file", seconds=0.0, starved=True)


class Heard:
    """The events that say whether checks are run."""

    def __init__(self) -> None:
        self.events = Events()
        self.said: list[Event] = []
        self.events.listen(self.said.append)


def test_no_more_probes_are_under_way_than_there_may_be() -> None:
    """The others wait, and come in their turn."""

    class Slow(Host):
        under_way = most = 0

        async def probe(self, check: HealthCheck, host: str, port: int) -> ProbeResult:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0.5)
            self.under_way -= 1
            return PASS

    async def run() -> None:
        host, heard = Slow(), Heard()
        checker = Checker(10, prober=TaskProber(host.probe))
        await checker.start(lambda *_: None, heard.events)
        many = {number: (replace(target(interval_seconds=1.0)[0], port=number),) for number in range(1, 101)}
        checker.watch(many, {})
        await asyncio.sleep(30)
        tallies = [tally for each in checker.tallies().values() for tally in each]
        stands = checker.standing()
        assert host.most == 10
        assert sum(tally.passes for tally in tallies) == pytest.approx(600, rel=0.1)
        assert min(tally.passes for tally in tallies) >= 4, "none is left out"
        assert stands.overdue > 0
        assert stands.reason.endswith("10 probes are under way, and there may be no more at a time")
        assert [type(event) for event in heard.said] == [ChecksNotRun]
        checker.watch({number: many[number] for number in range(1, 11)}, {})
        await asyncio.sleep(5)
        assert checker.standing() == Standing(10, 0, checker.standing().probes, 10, "")
        assert [type(event) for event in heard.said] == [ChecksNotRun, ChecksRunAgain]
        await checker.stop()

    run_in_simulated_time(run())


def test_checks_that_wait_for_the_programs_of_probes_are_not_overdue() -> None:
    async def run() -> None:
        host, heard, loaded = Host(), Heard(), False
        checker = Checker(prober=TaskProber(host.probe))
        loading = Source(obstacle="the programs are being loaded", in_a_moment=True)
        await checker.start(
            lambda *_: None, heard.events, source_of=lambda _address, _by_vip_of: ANY_SOURCE if loaded else loading
        )
        checker.watch({7: target(interval_seconds=1.0)}, {})
        await asyncio.sleep(30)
        assert (checker.standing().overdue, heard.said) == (0, [])
        loaded = True
        await asyncio.sleep(3)
        assert checker.tallies_of(7)[0].passes > 0
        await checker.stop()

    run_in_simulated_time(run())


def test_while_this_host_cannot_check_no_backend_flips_and_it_is_said_once() -> None:
    class Starved(Host):
        starved = False

        async def probe(self, check: HealthCheck, host: str, port: int) -> ProbeResult:
            result = await super().probe(check, host, port)
            return STARVED if self.starved else result

    async def run() -> None:
        host, heard, book = Starved(), Heard(), HealthBook(lambda: NOW)
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(book.flip, heard.events)
        checker.watch({7: target(interval_seconds=5.0, timeout_seconds=1.0, fall=1)}, book.known)
        await until(lambda: 7 in book.known)
        host.starved, host.passing = True, False
        await asyncio.sleep(6.4)
        assert checker.standing().reason == ""
        await asyncio.sleep(60)
        assert book.known[7].health is U
        stands = checker.standing()
        assert (stands.checks, stands.overdue) == (1, 1)
        assert stands.reason.startswith("the only health check has had no result for 6")
        assert stands.reason.endswith("so a backend that fails is not noticed: no file")
        host.tries.clear()
        await asyncio.sleep(10)
        assert len(host.tries) == pytest.approx(10, abs=2), "it is tried again every second, not at its interval"
        host.starved = False
        await until(lambda: book.known[7].health is D, 3)
        await asyncio.sleep(2)
        assert checker.standing().reason == ""
        assert [type(event) for event in heard.said] == [ChecksNotRun, ChecksRunAgain]
        await checker.stop()

    run_in_simulated_time(run())


def test_a_check_that_is_not_to_be_run_from_here_is_not_overdue() -> None:
    """Its own backend's reason says it; the others are checked, and the balancer is as ready as before."""

    class Forbidden(Host):
        async def probe(self, check: HealthCheck, host: str, port: int) -> ProbeResult:
            return NO_RESULT

    async def run() -> None:
        checker, heard = Checker(prober=TaskProber(Forbidden().probe)), Heard()
        await checker.start(lambda *_: None, heard.events)
        checker.watch({7: target()}, {})
        await asyncio.sleep(60)
        assert checker.standing().reason == ""
        assert heard.said == []
        await checker.stop()

    run_in_simulated_time(run())


def test_a_loop_that_hangs_is_seen_from_another_thread() -> None:
    async def run() -> str:
        checker = Checker(prober=TaskProber(Host().probe))
        await checker.start(lambda *_: None, Events())
        checker.watch({7: target()}, {})
        await asyncio.sleep(1.2)
        assert checker.standing().reason == ""
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(standing_later, checker)
            reason = asked.result().reason  # the loop hangs in this line
        await checker.stop()
        return reason

    def standing_later(checker: Checker) -> Standing:
        time.sleep(3.2)
        return checker.standing()

    assert asyncio.run(run()).endswith("so a backend that fails is not noticed: this host is too busy")


def test_a_process_without_descriptors_says_so_and_goes_on_when_it_has_some() -> None:
    check = HealthCheck(interval_seconds=0.1, timeout_seconds=0.1, fall=1, jitter=0.0)

    async def run() -> None:
        heard, book = Heard(), HealthBook(lambda: NOW)
        book.start_with({1: KnownHealth(U, "", NOW)})
        checker = Checker()
        await checker.start(book.flip, heard.events)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with no_descriptor_left():
                checker.watch(
                    {1: (CheckTarget(0, IPv4Address("127.0.0.1"), nobody.getsockname()[1], check),)}, book.known
                )
                await until(lambda: checker.standing().reason)
                assert "as many files open as it may (raise LimitNOFILE=" in checker.standing().reason
                assert book.known[1].health is U
            await until(lambda: book.known[1].health is D)
            await until(lambda: checker.standing().reason == "")
        await checker.stop()
        assert [type(event) for event in heard.said] == [ChecksNotRun, ChecksRunAgain]

    asyncio.run(run())


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open nothing more in the block."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as last:
        free = last.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
