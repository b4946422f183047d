# SPDX-License-Identifier: Apache-2.0
"""What of the metrics may be asked for, what is counted over time, and that promtool has nothing to say against it."""

from __future__ import annotations

import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.api_harness import BACKEND, BACKENDS, CHECK, VIP, WEB, Api, problem_of, running_api
from tests.fakes import FakeHealth
from tests.waiting import until
from xdplb.control.answers import answers, metrics
from xdplb.control.events import Event, VipStatusChanged
from xdplb.control.writing import passive_watch
from xdplb.model.backend import Health
from xdplb_api.exposition import Family, Histogram

KEY = "203.0.113.10:443/tcp"
ONE = {"vip": KEY, "backend": "10.0.0.11"}


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as api:
        api.add("/v1/vips", WEB)
        api.add("/v1/vips", {**WEB, "port": 80, "name": "plain"})
        for address in ("10.0.0.11", "10.0.0.12"):
            api.add(BACKENDS, {"address": address})
        api.ask("PUT", CHECK, {"type": "tcp"})
        yield api


def read(api: Api, query: str = "") -> list[tuple[str, dict[str, str], float]]:
    response = api.ask("GET", f"/metrics{query}")
    assert response.status_code == 200, response.text
    families = text_string_to_metric_families(response.text)
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def value(api: Api, name: str, **labels: str) -> float | None:
    return next((value for found, has, value in read(api) if (found, has) == (name, labels)), None)


def flip(api: Api, health: Health, address: str = "10.0.0.11") -> None:
    assert api.client.portal is not None
    api.client.portal.call(api.health.flip, address, health)


def test_levels_and_vips(api: Api) -> None:
    def asked(query: str) -> tuple[set[str], set[str]]:
        labels = [has for _, has, _ in read(api, query)]
        return {has["vip"] for has in labels if "vip" in has}, {has["backend"] for has in labels if "backend" in has}

    other = "203.0.113.10:80/tcp"
    both, backends = {KEY, other}, {"10.0.0.11", "10.0.0.12"}
    assert asked("") == asked("?level=backend") == (both, backends)
    assert asked("?level=vip") == (both, set())
    assert asked("?level=total") == (set(), set())
    assert asked("?vip=web") == ({KEY}, backends)
    assert asked("?vip=plain&level=vip") == ({other}, set())
    assert asked("?vip=plain&vip=203.0.113.10:443:tcp") == (both, backends)
    assert ("xdplb_backends", {"state": "up"}, 2.0) in read(api, "?level=total")
    problem_of(api.ask("GET", "/metrics?vip=no"), 404)
    problem_of(api.ask("GET", "/metrics?level=all"), 422)
    problem_of(api.ask("GET", "/metrics?level=vip&level=vip"), 422)


def test_less_is_less_work(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    before = metrics.BackendMetrics.__new__

    def counted(*values: Any, **fields: Any) -> metrics.BackendMetrics:
        made.append("")
        return before(*values, **fields)

    monkeypatch.setattr(metrics.BackendMetrics, "__new__", counted)

    def work(query: str) -> tuple[int, int]:
        made.clear()
        samples = len(read(api, query))
        return len(made), samples

    few = {level: work(f"?level={level}") for level in ("backend", "vip", "total")}
    for number in range(20, 40):
        api.add(BACKENDS, {"address": f"10.0.0.{number}"})
    more = {level: work(f"?level={level}") for level in few}
    assert few["backend"][0] == 2
    assert few["vip"] == more["vip"]
    assert few["total"] == more["total"] < few["vip"]
    assert few["vip"][0] == 0
    assert more["backend"][0] == 22
    assert more["backend"][1] > few["backend"][1] + 20 * 5
    api.ask("DELETE", "/v1/vips/plain")
    assert work("?level=total") == few["total"]
    assert work("?level=vip") < few["vip"]
    assert work("?vip=web") == work("")


def test_no_event_loop_does_the_work_of_a_scrape(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes through all backends or all samples runs in threads, and between samples others get the interpreter."""
    api.ask("PATCH", VIP, {"passive": "observe"})
    threads: dict[str, set[int]] = {}

    def watch(place: object, name: str) -> None:
        real = getattr(place, name)

        def noted(*values: Any, **more: Any) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return real(*values, **more)

        monkeypatch.setattr(place, name, noted)

    watch(answers, "metrics_view")
    watch(metrics, "_backend_metrics")
    watch(passive_watch, "HandshakeCounts")
    watch(FakeHealth, "tallies")
    watch(Family, "lines")
    watch(Histogram, "lines")
    watch(zlib, "compressobj")
    read(api)
    assert api.client.portal is not None
    loop = api.client.portal.call(threading.get_ident)
    assert set(threads) == {"metrics_view", "_backend_metrics", "HandshakeCounts", "tallies", "lines", "compressobj"}
    assert not [name for name, those in threads.items() if loop in those]


def test_transitions_are_counted_and_forgotten(api: Api) -> None:
    told: list[Event] = []
    api.manager.events.listen(told.append)
    assert value(api, "xdplb_backend_transitions_total", **ONE) == 0
    flip(api, Health.UP)
    came = value(api, "xdplb_backend_transitions_total", **ONE)
    assert came is not None
    flip(api, Health.UP, "10.0.0.12")  # nothing is told of a VIP while a check has had no result
    flip(api, Health.DOWN)
    assert value(api, "xdplb_backend_transitions_total", **ONE) == came + 1
    until(lambda: any(isinstance(event, VipStatusChanged) and event.status == "DEGRADED" for event in told))
    before = value(api, "xdplb_vip_transitions_total", vip=KEY)  # what is told first is a change if there was another
    assert before is not None
    flip(api, Health.UP)
    until(lambda: value(api, "xdplb_vip_transitions_total", vip=KEY) == before + 1)
    api.ask("DELETE", BACKEND)
    api.add(BACKENDS, {"address": "10.0.0.11"})
    assert value(api, "xdplb_backend_transitions_total", **ONE) == 0
    api.ask("DELETE", VIP)
    api.add("/v1/vips", WEB)
    assert value(api, "xdplb_vip_transitions_total", vip=KEY) == 0


def test_failing_open(api: Api) -> None:
    assert value(api, "xdplb_vip_failing_open", vip=KEY) == 0
    api.ask("PATCH", VIP, {"all_unhealthy": "fail-open"})
    for address in ("10.0.0.11", "10.0.0.12"):
        flip(api, Health.DOWN, address)
    assert value(api, "xdplb_vip_failing_open", vip=KEY) == 1
    assert value(api, "xdplb_vips", status="FAILING_OPEN") == 1


def test_durations(api: Api) -> None:
    api.health.latency.note(0.0003)
    api.health.latency.note(20)
    name = "xdplb_health_check_latency_seconds"
    assert value(api, f"{name}_bucket", type="tcp", le="0.00025") == 0
    assert value(api, f"{name}_bucket", type="tcp", le="0.0005") == 1
    assert value(api, f"{name}_bucket", type="tcp", le="10") == 1
    assert value(api, f"{name}_bucket", type="tcp", le="+Inf") == value(api, f"{name}_count", type="tcp") == 2
    before = value(api, "xdplb_map_update_seconds_count")
    assert before
    api.ask("PATCH", BACKEND, {"weight": 3})
    after = value(api, "xdplb_map_update_seconds_count")
    assert after is not None
    assert after > before


def test_the_process_and_what_waits(api: Api) -> None:
    started, cpu = value(api, "process_start_time_seconds"), value(api, "process_cpu_seconds_total")
    up = value(api, "xdplb_start_time_seconds")
    assert started is not None
    assert up is not None
    assert cpu
    assert 1.6e9 < started < up
    assert value(api, "xdplb_changes_waiting") == 0
    assert value(api, "xdplb_table_entries", table="vips") == 2
    assert value(api, "xdplb_config_last_reload_success_timestamp_seconds") is None


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's prometheus")
def test_promtool_finds_nothing(api: Api) -> None:
    text = api.ask("GET", "/metrics").text
    told = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, "")
