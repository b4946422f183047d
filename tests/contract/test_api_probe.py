# SPDX-License-Identifier: Apache-2.0
"""Probes that are asked for: over the API, and what they do not do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tests.contract.api_harness import BACKEND, BACKENDS, CHECK, VIP, WEB, Api, problem_of, running_api
from tests.fakes import FakeHealth
from tests.unit.control.probe_servers import answering, stream
from xdplb.control.events import Events
from xdplb.control.health.checks import Checker
from xdplb.control.health.health_source import CheckTarget
from xdplb.control.health.on_demand import MOST_PROBES, OnDemand, Probed
from xdplb.model.errors import ConflictError, InvalidError
from xdplb.model.health import CheckType, HealthCheck


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as found:
        found.add("/v1/vips", WEB)
        for number in (12, 11):
            found.add(BACKENDS, {"address": f"10.0.0.{number}"})
        yield found


def test_probes_of_all_backends_and_of_one(api: Api) -> None:
    assert api.ask("PUT", CHECK, {"type": "http", "path": "/up"}).status_code == 201
    before = api.client.get(CHECK).json()["status"]
    body = api.ask("POST", f"{VIP}/probe").json()
    assert (body["vip"], body["passed"]) == ("203.0.113.10:443/tcp", True)
    assert [each["backend"] for each in body["backends"]] == ["10.0.0.11", "10.0.0.12"]
    (check,) = body["backends"][0]["checks"]
    assert (check["type"], check["port"], check["passed"]) == ("http", 443, True)
    assert [step["name"] for step in check["steps"]] == ["connect", "answer"]
    assert [each["backend"] for each in api.ask("POST", f"{BACKEND}/probe").json()["backends"]] == ["10.0.0.11"]
    assert api.client.get(CHECK).json()["status"] == before, "no tally changes"


def test_what_cannot_be_probed_is_said(api: Api) -> None:
    assert problem_of(api.ask("POST", f"{VIP}/probe"), 404)["detail"] == "VIP 203.0.113.10:443/tcp has no health check"
    api.ask("PUT", CHECK, {"type": "tcp"})
    assert problem_of(api.ask("POST", f"{BACKENDS}/10.0.0.99/probe"), 404)["status"] == 404
    assert problem_of(api.ask("POST", "/v1/vips/none/probe"), 404)["status"] == 404


def test_a_check_that_runs_a_command_is_refused_where_the_daemon_runs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    exec_check = {"type": "exec", "command": ["/bin/true"]}
    monkeypatch.setattr(FakeHealth, "runs_commands", False)
    with running_api() as api:
        api.add("/v1/vips", WEB)
        problem = problem_of(api.ask("PUT", CHECK, exec_check), 422)
        assert "this daemon runs no commands" in problem["detail"]
        assert "xdplb up --exec-checks" in problem["hint"]
        assert problem_of(api.ask("POST", "/v1/vips", {**WEB, "port": 444, "name": "b", "checks": [exec_check]}), 422)
        assert api.client.get(CHECK).status_code == 404
        assert api.ask("PUT", CHECK, {"type": "icmp"}).status_code == 201


def _checker_of(targets: dict[int, tuple[CheckTarget, ...]]) -> Checker:
    checker = Checker(100)
    checker.watch(targets, {})
    return checker


HTTP = HealthCheck(type=CheckType.HTTP, timeout_seconds=1.0, interval_seconds=3600)


def test_the_steps_of_a_probe_have_their_times() -> None:
    async def run(port: int) -> list[list[Probed]]:
        check = CheckTarget(0, ip_address("127.0.0.1"), port, HTTP)
        dead = CheckTarget(0, ip_address("127.0.0.1"), 1, HealthCheck())
        checker = _checker_of({1: (check, dead)})
        await checker.start(lambda *_: None, Events())
        found = await OnDemand(checker).probe([1, 7])
        assert [tally.passes + tally.failures for tally in checker.tallies_of(1)] == [0, 0]
        await checker.stop()
        return found

    with stream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as port:
        (http, tcp), none = asyncio.run(run(port))
    assert none == []
    assert [step.name for step in http.steps] == ["connect", "sent", "first byte", "answer"]
    assert [step.seconds for step in http.steps] == sorted(step.seconds for step in http.steps)
    assert http.steps[0].text.startswith(f"to 127.0.0.1 port {port} (asked from 127.0.0.1:")
    assert http.steps[1].text.startswith("GET /, ")
    assert http.result.passed
    assert tcp.result.reason.startswith("connection refused")


def test_no_more_is_run_than_is_good_for_the_checks() -> None:
    def silent(_: object) -> None:
        time.sleep(0.4)

    async def run(port: int) -> None:
        target = CheckTarget(0, ip_address("127.0.0.1"), port, HealthCheck(expect="x", timeout_seconds=0.3))
        checker = _checker_of(dict.fromkeys(range(MOST_PROBES + 1), (target,)))
        await checker.start(lambda *_: None, Events())
        probes = OnDemand(checker)
        with pytest.raises(InvalidError, match="257 checks"):
            await probes.probe(range(MOST_PROBES + 1))
        asked = [asyncio.create_task(probes.probe([1])) for _ in range(4)]
        await asyncio.sleep(0.05)
        with pytest.raises(ConflictError):
            await probes.probe([1])
        asked[0].cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert (await probes.probe([1]))[0][0].result.passed is False
        await checker.stop()

    with stream(silent) as port:
        asyncio.run(run(port))
