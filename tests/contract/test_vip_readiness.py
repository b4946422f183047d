# SPDX-License-Identifier: Apache-2.0
"""`/readyz?vip=` and `xdplb status --vip`: what a tracker asks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.api_harness import BACKENDS, CHECK, VIP, WEB, Api, problem_of, running_api
from tests.contract.cli_harness import REPOSITORY, Daemon, running_daemon
from xdplb.model.backend import Health

KEY = "203.0.113.10:443/tcp"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """Return the API with a checked VIP of three backends, of which two must serve."""
    with running_api() as one:
        one.add("/v1/vips", {**WEB, "min_serving": 2, "all_unhealthy": "fail-closed"})
        one.ask("PUT", CHECK, {"type": "tcp"})
        for last in (11, 12, 13):
            one.add(BACKENDS, {"address": f"10.0.0.{last}"})
        one.add("/v1/vips", {"address": "203.0.113.53", "port": 53, "protocol": "tcp+udp"})
        one.add("/v1/vips/203.0.113.53:53:tcp+udp/backends", {"address": "10.0.0.11"})
        yield one


def flip(api: Api, *healths: Health) -> None:
    """Let the backends have this health, and wait until the maps have it."""
    assert api.client.portal is not None
    for last, health in enumerate(healths, 11):
        api.client.portal.call(api.health.flip, f"10.0.0.{last}", health)
    serving = sum(health is Health.UP for health in healths)
    end = time.monotonic() + 60
    while api.ask("GET", VIP).json()["status"]["backends_serving"] != serving:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_it_is_200_while_enough_serve_and_503_with_words_otherwise(api: Api) -> None:
    flip(api, Health.UP, Health.UP, Health.DOWN)
    body = api.ask("GET", "/readyz?vip=web").json()
    web = {
        "vip": KEY,
        "name": "web",
        "operating_status": "DEGRADED",
        "backends_serving": 2,
        "backends_needed": 2,
        "min_serving_met": True,
    }
    assert body == {"ready": True, "vips": [web]}
    status = api.ask("GET", VIP).json()["status"]
    assert {name: status[name] for name in web if name in status} == {
        name: web[name] for name in web if name not in {"vip", "name"}
    }
    flip(api, Health.UP, Health.DOWN, Health.DOWN)
    problem = problem_of(api.ask("GET", f"/readyz?vip={KEY}"), 503)
    assert problem["reasons"] == ["VIP web: 1 of 3 backends serves, and 2 must"]
    assert problem["vips"] == [{**web, "backends_serving": 1, "min_serving_met": False}]
    assert api.ask("GET", "/readyz").status_code == 200
    # The plus of a protocol is a space in a query that nobody has encoded.
    assert api.ask("GET", "/readyz?vip=203.0.113.53:53/tcp+udp").status_code == 200
    both = problem_of(api.ask("GET", "/readyz?vip=203.0.113.53:53:tcp%2Budp&vip=web&vip=web"), 503)
    assert [vip["name"] for vip in both["vips"]] == [None, "web"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("vip=nobody", 404),
        ("vip=203.0.113.99:443/tcp", 404),
        ("vip=web&vip=nobody", 404),
        ("vip=", 404),
        ("vip=203.0.113.10:99999/tcp", 422),
        ("vips=web", 422),
        ("&".join(["vip=web"] * 65), 422),
    ],
)
def test_what_cannot_be_asked_is_refused(api: Api, query: str, status: int) -> None:
    problem_of(api.ask("GET", f"/readyz?{query}"), status)


def test_metrics_and_the_list_of_vips_say_the_same(api: Api) -> None:
    flip(api, Health.DOWN, Health.DOWN, Health.DOWN)
    text = api.ask("GET", "/metrics").text
    assert f'xdplb_vip_status{{vip="{KEY}",status="OFFLINE"}} 1' in text
    assert f'xdplb_vip_backends_needed{{vip="{KEY}"}} 2' in text
    api.ask("PATCH", VIP, {"all_unhealthy": "fail-open"})
    assert f'xdplb_vip_status{{vip="{KEY}",status="FAILING_OPEN"}} 1' in api.ask("GET", "/metrics").text
    api.ask("PATCH", VIP, {"all_unhealthy": "fail-closed"})


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Return a daemon with a VIP that has one backend."""
    with running_daemon(tmp_path_factory.mktemp("daemon")) as running:
        running.ok("vip", "add", KEY, "--name", "web")
        running.ok("backend", "add", "web", "10.0.0.11")
        yield running


def test_the_command_exits_with_what_a_tracker_wants(daemon: Daemon) -> None:
    told = daemon.ok("status", "--vip", "web", "--vip", KEY)
    assert told.stdout.splitlines()[1].split() == [KEY, "web", "ONLINE", "1", "1"]
    assert json.loads(daemon.ok("status", "--vip", "web", "-o", "json").stdout)["vips"][0]["min_serving_met"]
    daemon.ok("vip", "set", "web", "--min-serving", "2")
    told = daemon.run("status", "--vip", "web")
    assert (told.returncode, told.stdout.splitlines()[1].split()[2:]) == (1, ["ONLINE", "1", "2"])
    assert "not ready: VIP web: 1 of 1 backends serves, and 2 must" in told.stderr
    told = daemon.run("status", "--vip", "web", "-o", "json")
    assert (told.returncode, json.loads(told.stdout)["status"]) == (1, 503)
    assert "1/1 (2 must)" in daemon.ok("vip", "ls").stdout
    assert daemon.ok("status").returncode == 0
    assert "1 of 1 serving, 2 must" in daemon.ok("vip", "show", "web").stdout
    told = daemon.run("status", "--vip", "web", "--wait", "--timeout", "300ms")
    assert (told.returncode, "2 must" in told.stderr) == (5, True)
    told = daemon.run("status", "--vip", "nobody")
    assert (told.returncode, "there is no VIP 'nobody'" in told.stderr) == (1, True)


def test_the_trackers_in_the_docs_ask_what_is_there(daemon: Daemon, api: Api) -> None:
    page = (REPOSITORY / "docs" / "readiness.md").read_text(encoding="utf-8")
    scripts = re.findall(r'script "([^"]+)"', page)
    assert [Path(script.split()[0]).name for script in scripts] == ["xdplb", "curl"]
    daemon.ok("vip", "set", "web", "--min-serving", "1")
    daemon.ok(*scripts[0].split()[1:])
    assert page.count("{") == page.count("}"), "keepalived would not read it"
    flip(api, Health.UP, Health.UP, Health.UP)
    url = scripts[1].split()[-1]
    assert api.ask("GET", url.removeprefix("http://127.0.0.1:9780")).status_code == 200
