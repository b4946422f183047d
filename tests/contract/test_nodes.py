# SPDX-License-Identifier: Apache-2.0
"""`/v1/nodes` and `xdplb node`: this balancer as a whole, and taking it out of service."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.api_harness import ADMIN, Api, problem_of, running_api
from tests.contract.cli_harness import Daemon, in_process, running_daemon
from xdplb.model.errors import InvalidError
from xdplb.model.node import name_of_host, parse_node_name
from xdplb.model.role import Role

LONG = {"timeout_seconds": 600, "quiet_seconds": 600}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as one:
        yield one


def _this(api: Api) -> Any:
    (node,) = api.client.get("/v1/nodes").json()["nodes"]
    return node


def _drain(api: Api) -> str:
    return f"/v1/nodes/{_this(api)['name']}/drain"


def _until_drained(api: Api) -> Any:
    end = time.monotonic() + 10
    while (node := _this(api))["state"] == "draining":
        assert time.monotonic() < end
        time.sleep(0.01)
    return node


def test_a_node_that_drains_is_not_ready_and_one_that_is_undrained_is(api: Api) -> None:
    before = _this(api)
    assert (before["state"], before["this_node"], before["ready"], before["drain"]) == ("serving", True, True, None)
    answer = api.ask("POST", _drain(api), LONG)
    assert answer.status_code == 202
    assert answer.json()["state"] == "draining"
    problem = problem_of(api.ask("GET", "/readyz"), 503)
    assert problem["reasons"] == [f"this node, {before['name']}, is draining: xdplb node undrain ends that"]
    assert api.ask("GET", f"/v1/nodes/{before['name']}").json()["not_ready"] == problem["reasons"]
    assert api.ask("DELETE", _drain(api)).json()["state"] == "serving"
    assert api.ask("GET", "/readyz").status_code == 200
    assert api.ask("DELETE", _drain(api)).status_code == 200, "asking for what is so is no error"


def test_without_packets_it_is_drained_after_the_quiet_time_and_stays_so(api: Api) -> None:
    api.ask("POST", _drain(api), {"timeout_seconds": 600, "quiet_seconds": 0.05})
    node = _until_drained(api)
    assert node["state"] == "drained"
    assert not node["drain"]["timed_out"]
    assert node["since"] == node["drain"]["ended"] > node["drain"]["started"]
    again = api.ask("POST", _drain(api), LONG).json()
    assert again["drain"] == node["drain"], "what is drained is not drained again"
    api.ask("DELETE", _drain(api))


def test_a_second_drain_changes_the_times_only(api: Api) -> None:
    first = api.ask("POST", _drain(api), LONG).json()["drain"]
    second = api.ask("POST", _drain(api), {**LONG, "timeout_seconds": 900}).json()["drain"]
    assert second["started"] == first["started"]
    assert second["deadline"] > first["deadline"]
    api.ask("DELETE", _drain(api))


def test_a_dry_run_says_what_would_be_and_does_nothing(api: Api) -> None:
    name = _this(api)["name"]
    told = api.ask("POST", f"{_drain(api)}?dry_run=true").json()
    assert told == {"would_change": True, "changed": False, "changes": [f"node {name} is draining"]}
    assert api.ask("DELETE", f"{_drain(api)}?dry_run=true").json()["would_change"] is False
    assert _this(api)["state"] == "serving"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_node_that_is_not_known_is_not_drained(api: Api, method: str) -> None:
    problem = problem_of(api.ask(method, "/v1/nodes/nowhere/drain"), 404)
    assert problem["errors"] == [{"pointer": "/path/name", "detail": "no node is called nowhere here"}]
    assert _this(api)["state"] == "serving"


@pytest.mark.parametrize(
    "body", [{"timeout_seconds": 0}, {"timeout_seconds": "1"}, {"quiet_seconds": -1}, {"timeout": 1}, []]
)
def test_times_that_make_no_sense_are_refused(api: Api, body: Any) -> None:
    problem_of(api.ask("POST", _drain(api), body), 422)
    assert _this(api)["state"] == "serving"


def test_readers_may_look_and_not_drain(api: Api) -> None:
    path = _drain(api)
    api.act_as(replace(ADMIN, uid=1001, user="prometheus", role=Role.READ))
    try:
        assert api.ask("GET", "/v1/nodes").status_code == 200
        problem_of(api.ask("POST", path), 403)
        problem_of(api.ask("DELETE", path), 403)
    finally:
        api.act_as(ADMIN)


@pytest.mark.parametrize(
    ("host", "name"), [("LB1.Example.net", "lb1.example.net"), ("bälancer one", "b-lancer-one"), ("", "node")]
)
def test_without_a_name_it_has_that_of_its_host(host: str, name: str) -> None:
    assert parse_node_name(name_of_host(host)) == name


@pytest.mark.parametrize("name", ["", "LB1", "a b", "x" * 64, "lb/1", "lb1\n"])
def test_what_cannot_be_a_name_is_refused_with_what_can(name: str) -> None:
    with pytest.raises(InvalidError, match="cannot be the name of a node") as refused:
        parse_node_name(name)
    assert "a to z, 0 to 9, and - . _" in refused.value.hint
    assert in_process("up", "eth0", "--node", name).returncode == 2


def _state(daemon: Daemon) -> Any:
    (node,) = json.loads(daemon.ok("node", "ls", "-o", "json").stdout)["nodes"]
    return node


def test_a_drain_survives_kill_9_with_its_deadline_and_so_does_its_end(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        told = daemon.ok("node", "drain", "--timeout", "1h", "--quiet", "1h")
        assert told.stderr == f"node {name_of_host()} is draining\n"
        first = _state(daemon)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    with running_daemon(tmp_path) as daemon:
        second = _state(daemon)
        assert (second["state"], second["drain"]["started"]) == ("draining", first["drain"]["started"])
        assert second["drain"]["deadline"] == first["drain"]["deadline"]
        assert daemon.run("status").returncode == 1
        told = daemon.ok("node", "drain", "--wait", "--timeout", "1h", "--quiet", "0s")
        assert told.stderr.endswith("is drained\n")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    with running_daemon(tmp_path) as daemon:
        assert _state(daemon)["state"] == "drained"
        assert "drained since" in daemon.ok("node", "show").stdout
        assert daemon.ok("node", "undrain").stderr.endswith("is serving again\n")
        assert daemon.ok("node", "undrain").stderr.endswith("is serving\n")
        assert daemon.run("status").returncode == 0
        told = json.loads(daemon.ok("events", "--kind", "node_undrained", "-o", "json").stdout)
    assert len(told["events"]) == 1
