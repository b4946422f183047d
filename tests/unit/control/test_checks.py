# SPDX-License-Identifier: Apache-2.0
"""Checks: the rise and fall rule, when each is due, and that thousands of them keep time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.fakes import TaskProber, run_in_simulated_time, until
from tests.unit.control.checked import FAIL, NO_RESULT, NOW, PASS, D, Host, N, U, target
from xdplb.control.events import Events
from xdplb.control.health.book import HealthBook
from xdplb.control.health.checks import Checker
from xdplb.control.health.health_source import CheckTarget
from xdplb.control.health.probes.result import ProbeResult
from xdplb.control.health.tally import CheckTally, health_of, tallied
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.health import CheckType, HealthCheck

CHECK = HealthCheck(rise=2, fall=3)


@pytest.mark.parametrize(
    ("start", "results", "expected"),
    [
        (N, [PASS], [U]),
        (N, [FAIL, FAIL, FAIL], [N, N, D]),
        (N, [FAIL, PASS], [N, U]),
        (U, [FAIL, FAIL, PASS, FAIL, FAIL, FAIL], [U, U, U, U, U, D]),
        (D, [PASS, FAIL, PASS, PASS], [D, D, D, U]),
        (U, [FAIL, FAIL, NO_RESULT, NO_RESULT, FAIL], [U, U, U, U, D]),
        (N, [NO_RESULT], [N]),
    ],
)
def test_rise_and_fall(start: Health, results: list[ProbeResult], expected: list[Health]) -> None:
    tally, health, seen = CheckTally(), start, []
    for result in results:
        tally = tallied(CHECK, tally, result)
        health = health_of(CHECK, health, tally)
        seen.append(health)
    assert seen == expected


def test_flips_are_reported_with_the_reason() -> None:
    async def run() -> None:
        host, flips = Host(), []
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(lambda *flip: flips.append(flip), Events())
        checker.watch({7: target()}, {})
        await until(lambda: flips == [([7], U, "ok")])
        host.passing = False
        await until(lambda: flips[1:] == [([7], D, "no")])
        await checker.stop()
        tries = len(host.tries)
        await asyncio.sleep(0.2)
        assert len(host.tries) == tries

    run_in_simulated_time(run())


def test_a_try_that_ends_in_an_unexpected_error_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Host):
        async def probe(self, check: HealthCheck, host: str, port: int) -> ProbeResult:
            if not self.tries:
                self.tries.append(0.0)
                raise RuntimeError("nobody thought of this")
            return await super().probe(check, host, port)

    async def run() -> None:
        host = Broken()
        checker, book = Checker(prober=TaskProber(host.probe)), HealthBook(lambda: NOW)
        await checker.start(book.flip, Events())
        checker.watch({7: target()}, book.known)
        await until(lambda: 7 in book.known and book.known[7].health is U)
        await checker.stop()

    run_in_simulated_time(run())
    assert "nobody thought of this" in caplog.text


def test_a_changed_check_keeps_the_health_and_a_new_holder_of_the_id_does_not() -> None:
    async def run() -> None:
        host = Host()
        checker, book = Checker(prober=TaskProber(host.probe)), HealthBook(lambda: NOW)
        book.start_with({7: KnownHealth(D, "", NOW)})
        await checker.start(book.flip, Events())
        checker.watch({7: target()}, book.known)
        await until(lambda: book.known[7].health is U)
        assert checker.tallies_of(7) != (CheckTally(),)
        checker.watch({7: target(fall=9)}, book.known)
        assert (checker.tallies_of(7), book.known[7].health) == ((CheckTally(),), U)
        book.set({7: KnownHealth(N, "", NOW)}, gone={7})
        checker.watch({7: target(epoch=1)}, book.known)
        assert (checker.tallies_of(7), book.known[7].health) == ((CheckTally(),), N)
        checker.watch({}, book.known)
        assert checker.tallies_of(7) == ()
        await checker.stop()

    run_in_simulated_time(run())


def test_a_slow_backend_does_not_shift_the_clock() -> None:
    class Slow(Host):
        async def probe(self, check: HealthCheck, host: str, port: int) -> ProbeResult:
            result = await super().probe(check, host, port)
            await asyncio.sleep(0.04)
            return result

    async def run() -> None:
        host = Slow()
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(lambda *_: None, Events())
        checker.watch({7: target(jitter=0.0)}, {})
        await until(lambda: len(host.tries) == 1001, 100)
        await checker.stop()
        assert host.tries[1000] - host.tries[0] == pytest.approx(1000 * 0.05)

    run_in_simulated_time(run())


def test_a_thousand_checks_a_second_keep_time() -> None:
    count, seconds = 1000, 20

    async def run() -> None:
        host = Host()
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(lambda *_: None, Events())
        checker.watch({i: target(interval_seconds=1.0) for i in range(count)}, {})
        await asyncio.sleep(seconds)
        tallies = [tally for i in range(count) for tally in checker.tallies_of(i)]
        await checker.stop()
        assert all(abs(tally.passes - seconds) <= 2 for tally in tallies)
        by_tenth = Counter(int(at * 10) for at in host.tries)
        assert max(by_tenth.values()) < 2 * count / 10, "they come all at once"

    run_in_simulated_time(run())


def test_a_thousand_real_checks_cost_little_and_leave_the_loop_free() -> None:
    count = 1000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def run() -> tuple[int, float]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
        port = server.sockets[0].getsockname()[1]
        # A machine with other things to do as well may take long: what counts is what we take of it.
        check = HealthCheck(type=CheckType.TCP, port=port, interval_seconds=1.0, timeout_seconds=30.0)
        checker, book = Checker(), HealthBook(lambda: NOW)
        await checker.start(book.flip, Events())
        checker.watch({i: (CheckTarget(0, IPv4Address("127.0.0.1"), port, check),) for i in range(count)}, book.known)

        def tallies() -> list[CheckTally]:
            return [tally for i in range(count) for tally in checker.tallies_of(i)]

        lags, end = [0.0], time.monotonic() + 60
        while any(tally.passes < 2 for tally in tallies()) and time.monotonic() < end:
            before = time.monotonic() - waited_for_a_cpu()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - waited_for_a_cpu() - before - 0.01)
        found = tallies()
        await checker.stop()
        server.close()
        await server.wait_closed()
        assert all(tally.passes >= 2 and tally.failures == 0 for tally in found)
        assert [known.health for known in book.known.values()] == [U] * count
        return sum(tally.passes for tally in found), sorted(lags)[int(len(lags) * 0.95)]

    cpu = time.process_time()
    ran, lag = asyncio.run(run())
    cpu = time.process_time() - cpu
    # On an idle machine a check takes 0.2 ms, the side that answers included, and the lag is 1 ms.
    assert cpu / ran < 0.001
    assert lag < 0.5


def waited_for_a_cpu() -> float:
    """Return the seconds that this thread could have run in and did not, since others did (see proc(5), schedstat)."""
    return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9


class Network(Host):
    """A host whose answers get lost while it is `away`; refused ones come back."""

    away = False
    refuses = False

    async def probe(self, check: HealthCheck, host: str, port: int) -> ProbeResult:
        self.tries.append(asyncio.get_running_loop().time())
        if self.away:
            await asyncio.sleep(check.timeout_seconds)
            return ProbeResult(passed=False, reason="no answer", seconds=check.timeout_seconds, heard=False)
        return FAIL if self.refuses else PASS


def test_silence_is_told_and_a_refusal_is_not() -> None:
    async def run() -> None:
        host, told, book = Network(), [], HealthBook(lambda: NOW)
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(book.flip, Events(), lambda address, first: told.append((str(address), first)))
        checker.watch({7: target()}, book.known)
        await until(lambda: 7 in book.known)
        host.refuses = True
        await until(lambda: book.known[7].health is D)
        assert told == []
        host.refuses = False
        await until(lambda: book.known[7].health is U)
        host.away = True
        await until(lambda: len(told) == 3)
        assert told == [("192.0.2.1", True), ("192.0.2.1", False), ("192.0.2.1", False)]
        await checker.stop()

    run_in_simulated_time(run())


@pytest.mark.parametrize("fall", [1, 3])
def test_when_the_way_has_changed_it_is_checked_at_once_until_it_is_up(fall: int) -> None:
    async def run() -> None:
        host, book, clock = Network(), HealthBook(lambda: NOW), asyncio.get_running_loop().time
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(book.flip, Events())
        checker.watch({7: target(interval_seconds=10.0, timeout_seconds=5.0, rise=3, fall=fall)}, book.known)
        await until(lambda: 7 in book.known, 20)
        host.away = True
        await until(lambda: (tallies := checker.tallies_of(7)) and tallies[0].failures == 1, 30)
        await until(lambda: len(host.tries) == 3, 30)  # one that is under way when the next hop changes
        host.away, changed = False, clock()
        checker.recheck([7, 8])
        await until(lambda: (tallies := checker.tallies_of(7)) and tallies[0].streak == 3, 30)
        assert clock() - changed < 1.0
        assert book.known[7].health is U
        (tally,) = checker.tallies_of(7)
        assert tally is not None
        assert tally.failures == 1, "the check whose packets went the old way says nothing"
        tries = len(host.tries)
        await asyncio.sleep(8)
        assert len(host.tries) == tries, "and then at its interval again"
        await checker.stop()

    run_in_simulated_time(run())


def test_one_that_passes_is_left_alone_when_the_way_changes() -> None:
    async def run() -> None:
        host = Host()
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(lambda *_: None, Events())
        checker.watch({7: target(interval_seconds=10.0)}, {})
        await asyncio.sleep(2)
        checker.recheck([7])
        await asyncio.sleep(2)
        assert len(host.tries) == 1
        await checker.stop()

    run_in_simulated_time(run())


def test_a_way_that_changes_all_the_time_keeps_no_check_from_its_end() -> None:
    async def run() -> None:
        host, book = Network(), HealthBook(lambda: NOW)
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(book.flip, Events())
        checker.watch({7: target(interval_seconds=2.0, timeout_seconds=1.0, fall=3)}, book.known)
        await until(lambda: 7 in book.known)
        host.away = True
        for _ in range(200):
            await asyncio.sleep(0.1)
            checker.recheck([7])
        assert book.known[7].health is D
        await checker.stop()

    run_in_simulated_time(run())


def test_a_host_that_is_too_busy_checks_more_slowly_and_not_in_vain() -> None:
    """A thousand checks of a millisecond each, four times a second, are four times what one CPU can do."""
    timeout, ended = 0.5, Counter[bool]()

    def use_cpu() -> None:
        time.sleep(0.0005)

    async def work(check: HealthCheck, host: str, port: int) -> ProbeResult:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(2):
            use_cpu()
            await asyncio.sleep(0)
        in_time = loop.time() - began < timeout
        ended[in_time] += 1
        return PASS if in_time else NO_RESULT

    async def run() -> None:
        checker = Checker(prober=TaskProber(work))
        await checker.start(lambda *_: None, Events())
        checker.watch({i: target(interval_seconds=0.25, timeout_seconds=timeout) for i in range(1000)}, {})
        await asyncio.sleep(5)
        await checker.stop()

    asyncio.run(run())
    assert ended[True] > 10 * ended[False]


def test_equal_checks_of_one_host_are_one_and_all_flip_together() -> None:
    async def run() -> None:
        host, flips, calls = Host(), list[tuple[float, Health]](), list[int]()
        checker, book = Checker(prober=TaskProber(host.probe)), HealthBook(lambda: NOW)
        loop = asyncio.get_running_loop()

        def flipped(backend_ids: Sequence[int], health: Health, reason: str) -> None:
            book.flip(backend_ids, health, reason)
            flips.extend((loop.time(), health) for _ in backend_ids)
            calls.append(len(backend_ids))

        await checker.start(flipped, Events())
        thousand = {number: (replace(target()[0], epoch=number),) for number in range(1000)}
        checker.watch({**thousand, 1000: target(rise=3)}, book.known)
        await asyncio.sleep(1)
        assert {health for _, health in flips} == {U}
        assert len(flips) == 1001
        assert len(host.tries) < 2 * 20 + 5, "each of the two different checks runs once in its interval"
        flips.clear()
        calls.clear()
        host.passing = False
        await until(lambda: len(flips) == 1001)
        assert sorted(calls) == [1, 1000]
        moments = Counter(at for at, _ in flips)
        assert sorted(moments.values()) == [1, 1000]
        assert book.known[999] == KnownHealth(D, "no", NOW, was_up=True)
        checker.watch({5: thousand[5]}, book.known)
        host.tries.clear()
        await asyncio.sleep(1)
        assert len(host.tries) == pytest.approx(20, abs=4)
        checker.watch({}, book.known)
        host.tries.clear()
        await asyncio.sleep(1)
        assert host.tries == []
        await checker.stop()

    run_in_simulated_time(run())


@pytest.mark.parametrize("passing", [True, False])
def test_what_is_known_of_a_host_holds_for_a_backend_that_joins(*, passing: bool) -> None:
    async def run() -> None:
        host, book = Host(passing), HealthBook(lambda: NOW)
        checker = Checker(prober=TaskProber(host.probe))
        await checker.start(book.flip, Events())
        first = target(interval_seconds=60.0, fall=1)
        checker.watch({1: first}, book.known)
        await until(lambda: 1 in book.known, 70)
        checker.watch({1: first, 2: (replace(first[0], epoch=1),)}, book.known)
        assert 2 not in book.known, "the change that adds it must be through first"
        await asyncio.sleep(0.01)
        assert book.known[2].health is (U if passing else D)
        assert len(host.tries) == 1
        await checker.stop()

    run_in_simulated_time(run())
