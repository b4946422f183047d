"""Checks: the rise and fall rule, and that thousands of them keep time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.fakes import until
from xdplb.control.checks import Checker, CheckRecord, CheckTarget, judge
from xdplb.control.probe import Outcome
from xdplb.model.backend import Health
from xdplb.model.health import CheckType, HealthCheck

CHECK = HealthCheck(rise=2, fall=3)
PASS = Outcome(passed=True, reason="ok", seconds=0.0)
FAIL = Outcome(passed=False, reason="no", seconds=0.0)
NO_RESULT = Outcome(passed=None, reason="?", seconds=0.0)
U, D, N = Health.UP, Health.DOWN, Health.UNKNOWN


@pytest.mark.parametrize(
    ("start", "outcomes", "expected"),
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
def test_rise_and_fall(start: Health, outcomes: list[Outcome], expected: list[Health]) -> None:
    record, seen = CheckRecord(start), []
    for outcome in outcomes:
        record = judge(CHECK, record, outcome)
        seen.append(record.health)
    assert seen == expected


class Host:
    """Answers every try as `passing` says, and counts."""

    def __init__(self, passing: bool = True) -> None:
        self.passing = passing
        self.tries: list[float] = []

    async def probe(self, check: HealthCheck, host: str, port: int) -> Outcome:
        self.tries.append(time.monotonic())
        return PASS if self.passing else FAIL


def target(epoch: int = 0, **times: float) -> CheckTarget:
    check = replace(HealthCheck(interval_seconds=0.05, rise=2, fall=2), **times)  # type: ignore[arg-type]
    return CheckTarget(epoch, IPv4Address("192.0.2.1"), 80, check)


def test_flips_are_reported_with_the_reason() -> None:
    async def run() -> None:
        host, flips = Host(), []
        checker = Checker(host.probe)
        await checker.start(lambda *flip: flips.append(flip))
        checker.watch({7: target()}, {})
        await until(lambda: flips == [(7, U, "ok")])
        host.passing = False
        await until(lambda: flips[1:] == [(7, D, "no")])
        await checker.stop()
        tries = len(host.tries)
        await asyncio.sleep(0.2)
        assert len(host.tries) == tries

    asyncio.run(run())


def test_a_try_that_ends_in_an_unexpected_error_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Host):
        async def probe(self, check: HealthCheck, host: str, port: int) -> Outcome:
            if not self.tries:
                self.tries.append(0.0)
                raise RuntimeError("nobody thought of this")
            return await super().probe(check, host, port)

    async def run() -> None:
        host = Broken()
        checker = Checker(host.probe)
        await checker.start(lambda *_: None)
        checker.watch({7: target()}, {})
        await until(lambda: checker.record(7).health is U)  # type: ignore[union-attr]
        await checker.stop()

    asyncio.run(run())
    assert "nobody thought of this" in caplog.text


def test_a_changed_check_keeps_the_health_and_a_new_holder_of_the_id_does_not() -> None:
    async def run() -> None:
        host = Host()
        checker = Checker(host.probe)
        await checker.start(lambda *_: None)
        checker.watch({7: target()}, {7: D})
        assert checker.record(7) == CheckRecord(D)
        await until(lambda: checker.record(7).health is U)  # type: ignore[union-attr]
        checker.watch({7: target(fall=9)}, {})
        assert checker.record(7) == CheckRecord(U)
        checker.watch({7: target(epoch=1)}, {})
        assert checker.record(7) == CheckRecord(N)
        checker.watch({}, {})
        assert checker.record(7) is None
        await checker.stop()

    asyncio.run(run())


def test_a_slow_backend_does_not_shift_the_clock() -> None:
    class Slow(Host):
        async def probe(self, check: HealthCheck, host: str, port: int) -> Outcome:
            outcome = await super().probe(check, host, port)
            await asyncio.sleep(0.04)
            return outcome

    async def run() -> None:
        host = Slow()
        checker = Checker(host.probe)
        await checker.start(lambda *_: None)
        checker.watch({7: target(jitter=0.0)}, {})
        await until(lambda: len(host.tries) == 21, 4.0)
        await checker.stop()
        assert host.tries[20] - host.tries[0] == pytest.approx(20 * 0.05, rel=0.15)

    asyncio.run(run())


def test_a_thousand_checks_a_second_keep_time_and_leave_the_loop_free() -> None:
    count, seconds = 1000, 4.0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def run() -> tuple[int, float, int]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
        port = server.sockets[0].getsockname()[1]
        check = HealthCheck(type=CheckType.TCP, port=port, interval_seconds=1.0, timeout_seconds=1.0)
        flips: list[Health] = []
        checker = Checker()
        await checker.start(lambda _id, health, _reason: flips.append(health))
        checker.watch({i: CheckTarget(0, IPv4Address("127.0.0.1"), port, check) for i in range(count)}, {})
        lags, end = [], time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - now - 0.01)
        records = [checker.record(i) for i in range(count)]
        await checker.stop()
        server.close()
        await server.wait_closed()
        ran = sum(record.passes + record.failures for record in records if record is not None)
        return ran, sorted(lags)[int(len(lags) * 0.95)], flips.count(U)

    cpu = time.process_time()
    ran, lag, up = asyncio.run(run())
    cpu = time.process_time() - cpu
    assert up == count
    assert ran >= count * (seconds - 2)
    # On an idle machine a check takes 0.2 ms, the side that answers included, and the lag is 1 ms.
    assert cpu / ran < 0.001
    assert lag < 0.5
