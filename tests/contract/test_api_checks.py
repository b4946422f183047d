# SPDX-License-Identifier: Apache-2.0
"""Several health checks of a VIP, and those of all types, over the API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.api_harness import BACKENDS, CHECK, VIP, WEB, Api, problem_of, running_api
from xdplb.control.health.probes.result import ProbeResult
from xdplb.control.health.tally import CheckTally
from xdplb.model.backend import Health
from xdplb.model.check_type import FIELDS_OF, OF_ALL, CheckType

CHECKS = f"{VIP}/checks"
ALL: dict[str, dict[str, Any]] = {
    "http": {
        "method": "HEAD", "path": "/up", "host": "www.example.com:8443", "headers": {"X-Probe": "a b"},
        "expect_status": [204, "300-399"], "reset": True, "port": 8080, "name": "app",
    },
    "https": {
        "sni": "www.example.com", "verify": True, "ca_file": "/etc/ca.pem", "cert_file": "/etc/c.pem",
        "key_file": "/etc/c.key", "expect_body": "größe", "expect_body_regex": "up|ok",
    },
    "tcp": {"send": "PING\r\n\xff", "expect": "+PONG", "target": "backend"},
    "tls": {"sni": "a.example", "expect": ""},
    "udp": {"port": 53, "send": "", "expect": "\x00"},
    "dns": {"port": 53, "query_name": "www.example.com", "query_type": "AAAA", "expect_answer": "2001:db8::1"},
    "icmp": {"interval_seconds": 5.0, "fast_interval_seconds": 1.0},
    "exec": {"command": ["/usr/bin/true", "a b"], "user": "nobody"},
    "agent": {"port": 9000, "send": "web\n"},
}  # fmt: skip


@pytest.fixture(scope="module")
def shared_api() -> Iterator[Api]:
    with running_api() as api:
        yield api


@pytest.fixture
def api(shared_api: Api) -> Api:
    """The API with a VIP and a backend, and nothing else."""
    assert shared_api.ask("PUT", "/v1/config", {"vips": []}).status_code == 200
    shared_api.add("/v1/vips", WEB)
    shared_api.add(BACKENDS, {"address": "10.0.0.11"})
    return shared_api


@pytest.mark.parametrize("kind", CheckType)
def test_a_check_of_each_type_can_be_read_and_put_back(api: Api, kind: CheckType) -> None:
    assert ALL[kind].keys() & (FIELDS_OF[kind] - OF_ALL) or kind is CheckType.ICMP
    asked = {"type": kind.value, **ALL[kind]}
    assert api.ask("PUT", CHECK, asked).status_code == 201
    told = api.ask("GET", CHECK).json()
    assert {name: told[name] for name in asked} == asked
    assert {name for name, value in told.items() if value is not None} <= FIELDS_OF[kind] | {"status", "label"}
    before = api.generation()
    assert api.ask("PUT", CHECK, told).json() == told
    assert api.ask("PUT", CHECKS, api.ask("GET", CHECKS).json()).status_code == 200
    config = api.ask("GET", "/v1/config").json()
    assert api.ask("PUT", "/v1/config", {name: config[name] for name in ("settings", "vips")}).status_code == 200
    assert api.generation() == before, "nothing has changed"


@pytest.mark.parametrize("kind", CheckType)
def test_a_field_that_a_type_does_not_have_is_named(api: Api, kind: CheckType) -> None:
    foreign = {name: value for other in ALL.values() for name, value in other.items() if name not in FIELDS_OF[kind]}
    for name, value in foreign.items():
        problem = problem_of(api.ask("PUT", CHECK, {"type": kind.value, **ALL[kind], name: value}), 422)
        assert [error["pointer"] for error in problem["errors"]] == [f"/{name}"]
        assert f"a check of type {kind} has no {name}" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"type": "http", "headers": {"Host": "x"}}, "/headers", "give it as host"),
        ({"type": "http", "headers": {"A": "b\r\nC: d"}}, "/headers", "in one line"),
        ({"type": "http", "headers": {"A b": "c"}}, "/headers", "not the name of a header"),
        ({"type": "http", "method": "HEAD", "expect_body": "x"}, "/expect_body", "HEAD has no body"),
        ({"type": "http", "expect_status": ["299-200"]}, "/expect_status/0", "nor a range"),
        ({"type": "http", "expect_body_regex": "(a"}, "/expect_body_regex", "not a regular expression"),
        ({"type": "http", "expect_body_regex": "(?=a)b"}, "/expect_body_regex", "RE2"),
        ({"type": "http", "expect_body_regex": "(.{0,20}){0,20}"}, "/expect_body_regex", "too large"),
        ({"type": "https", "verify": True}, "/sni", "verify needs sni"),
        ({"type": "https", "sni": "10.0.0.1"}, "/sni", "is an address"),
        ({"type": "https", "ca_file": "/etc/ca.pem"}, "/ca_file", "without verify"),
        ({"type": "tls", "key_file": "/etc/k.pem"}, "/key_file", "needs cert_file"),
        ({"type": "tcp", "send": "€"}, "/send", "not one byte"),
        ({"type": "tcp", "send": ""}, "/send", "send is empty"),
        ({"type": "exec", "command": ["check"]}, "/command", "absolute path"),
        ({"type": "exec"}, "/command", "absolute path"),
        ({"type": "exec", "command": ["/bin/true"], "user": "root"}, "/user", "may not run as root"),
        ({"type": "dns", "port": 53, "query_type": "A", "expect_answer": "::1"}, "/expect_answer", "not an IPv4"),
        ({"type": "dns", "port": 53, "query_name": "a..b"}, "/query_name", "not a domain name"),
        ({"type": "agent"}, "/port", "a port of its own"),
        ({"type": "udp"}, "/port", "is TCP, and udp checks use UDP"),
        ({"type": "tcp", "port": 8080, "target": "vip"}, "/target", "port 8080 is none of VIP"),
        ({"type": "icmp", "target": "vip"}, "/target", "goes to the backend's own address"),
        ({"type": "tcp", "fast_interval_seconds": 3.0}, "/fast_interval_seconds", "no more than the interval"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(api: Api, body: dict[str, Any], pointer: str, said: str) -> None:
    problem = problem_of(api.ask("PUT", CHECK, body), 422)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert said in f"{problem['detail']} {problem['hint']}"
    assert problem_of(api.ask("PUT", CHECKS, {"checks": [body]}), 422)["errors"][0]["pointer"] == f"/checks/0{pointer}"


def test_a_udp_vip_has_udp_checks_and_a_tcp_check_only_with_a_port(api: Api) -> None:
    api.add("/v1/vips", {"address": "203.0.113.10", "port": 53, "protocol": "udp", "name": "dns"})
    problem = problem_of(api.ask("PUT", "/v1/vips/dns/health-check", {"type": "http"}), 422)
    assert "is UDP, and http checks use TCP" in problem["detail"]
    assert "or use udp or dns" in problem["hint"]
    told = api.ask("PUT", "/v1/vips/dns/health-check", {"type": "http", "port": 8080}).json()
    assert told["target"] == "backend"
    assert api.ask("PUT", "/v1/vips/dns/health-check", {"type": "dns"}).json()["target"] == "vip"


@pytest.mark.parametrize(
    ("vip", "check", "target"),
    [
        ({"port": 80, "protocol": "tcp"}, {"type": "http"}, "vip"),
        ({"port": 80, "protocol": "tcp"}, {"type": "http", "port": 80}, "vip"),
        ({"port": 80, "protocol": "tcp"}, {"type": "http", "port": 8080}, "backend"),
        ({"port": 80, "last_port": 90, "protocol": "tcp"}, {"type": "tcp", "port": 85}, "vip"),
        ({"port": 0, "protocol": "tcp"}, {"type": "tcp", "port": 85}, "vip"),
        ({"port": 53, "protocol": "tcp+udp"}, {"type": "dns"}, "vip"),
        ({"port": 53, "protocol": "udp"}, {"type": "tcp", "port": 53}, "backend"),
        ({"port": 80, "protocol": "tcp"}, {"type": "icmp"}, "backend"),
        ({"port": 80, "protocol": "tcp"}, {"type": "agent", "port": 80}, "backend"),
        ({"port": 80, "protocol": "tcp"}, {"type": "exec", "command": ["/bin/true"]}, "backend"),
    ],
)
def test_a_check_goes_to_the_vip_where_it_can(api: Api, vip: Any, check: Any, target: str) -> None:
    api.add("/v1/vips", {"address": "203.0.113.11", "name": "other", **vip, "health_check": check})
    assert api.ask("GET", "/v1/vips/other/health-check").json()["target"] == target


def test_all_checks_of_a_vip_are_set_and_removed(api: Api) -> None:
    api.add(BACKENDS, {"address": "10.0.0.12"})
    answer = api.ask("PUT", CHECKS, {"checks": [{"type": "http"}, {"type": "tcp", "name": "app"}]})
    assert (answer.status_code, answer.headers["location"]) == (201, CHECKS)
    told = api.ask("GET", CHECKS).json()["checks"]
    assert [check["label"] for check in told] == ["http", "app"]
    assert [len(check["status"]["backends"]) for check in told] == [2, 2]
    assert api.ask("GET", CHECK).json() == told[0], "the first"
    for answer in (api.ask("PUT", CHECK, {"type": "tcp"}), api.ask("DELETE", CHECK)):
        assert "has 2 health checks" in problem_of(answer, 409)["detail"]
    assert api.ask("DELETE", CHECKS).status_code == 204
    assert api.ask("GET", CHECKS).json() == {"checks": []}
    assert api.ask("DELETE", CHECKS).status_code == 404


def test_checks_are_bounded_and_differ(api: Api) -> None:
    for checks, said in (
        ([{"type": "tcp"}, {"type": "tcp"}], "given twice"),
        ([{"type": "tcp", "name": "a"}, {"type": "icmp", "name": "a"}], "given to two checks"),
        ([{"type": "tcp", "rise": 1 + number} for number in range(9)], "8"),
    ):
        assert said in problem_of(api.ask("PUT", CHECKS, {"checks": checks}), 422)["detail"]


def test_checks_come_with_their_vip_and_leave_with_an_empty_list(api: Api) -> None:
    body = {**WEB, "checks": [{"type": "tcp"}, {"type": "icmp"}]}
    assert api.ask("PUT", VIP, body).status_code == 200
    assert len(api.ask("GET", CHECKS).json()["checks"]) == 2
    assert api.ask("PUT", VIP, WEB).status_code == 200
    assert len(api.ask("GET", CHECKS).json()["checks"]) == 2, "what is not given stays"
    both = problem_of(api.ask("PUT", VIP, {**body, "health_check": {"type": "tcp"}}), 422)
    assert both["errors"][0]["pointer"] == "/health_check"
    wrong = problem_of(api.ask("PUT", VIP, {**WEB, "checks": [{"type": "tcp"}, {"type": "agent"}]}), 422)
    assert wrong["errors"][0]["pointer"] == "/checks/1/port"
    assert api.ask("PUT", VIP, {**WEB, "checks": []}).status_code == 200
    assert api.ask("GET", CHECKS).json() == {"checks": []}


def test_checks_are_changed_with_other_things_in_one_step(api: Api) -> None:
    edits = [
        {"kind": "put_checks", "vip": "web", "checks": [{"type": "tcp"}, {"type": "icmp"}]},
        {"kind": "put_backend", "vip": "web", "address": "10.0.0.12"},
    ]
    assert api.ask("POST", "/v1/changes", {"edits": edits}).status_code == 200
    assert len(api.ask("GET", CHECKS).json()["checks"]) == 2
    assert api.ask("POST", "/v1/changes", {"edits": [{"kind": "delete_checks", "vip": "web"}]}).status_code == 200
    assert api.ask("GET", CHECKS).json() == {"checks": []}


def test_the_results_of_all_vips_are_listed(api: Api) -> None:
    api.ask("PUT", CHECKS, {"checks": [{"type": "tcp"}, {"type": "http", "port": 8080}]})
    assert api.client.portal is not None
    api.client.portal.call(api.health.flip, "10.0.0.11", Health.DOWN, "refused")
    told = api.ask("GET", "/v1/checks").json()["checks"]
    assert [(one["check"], one["backend"], one["reason"]) for one in told] == [
        ("tcp", "10.0.0.11", "refused"),
        ("http:8080", "10.0.0.11", "refused"),
    ]
    assert {one["vip"] for one in told} == {"203.0.113.10:443/tcp"}


def test_a_backend_is_checked_in_its_own_way_or_not_at_all(api: Api) -> None:
    api.ask("PUT", CHECKS, {"checks": [{"type": "http"}, {"type": "agent", "port": 9000}]})
    api.add(BACKENDS, {"address": "10.0.0.12", "check_port": 8081, "check_path": "/mine"})
    targets = {str(each[0].address): each for each in api.health.targets.values()}
    assert [(each.port, each.check.path) for each in targets["10.0.0.11"]] == [(443, "/"), (9000, None)]
    assert [(each.port, each.check.path) for each in targets["10.0.0.12"]] == [(8081, "/mine"), (9000, None)]
    assert targets["10.0.0.11"][0].way is not None
    assert targets["10.0.0.12"][0].way is None, "the VIP gets no packets at that port"
    [request, _] = api.ask("GET", CHECKS).json()["checks"]
    asks = [each["asks"] for each in request["status"]["backends"]]
    assert asks == ["203.0.113.10:443 by dr", "10.0.0.12:8081"], "where probes go is shown"
    ran = api.ask("POST", f"{BACKENDS}/10.0.0.12/probe").json()["backends"][0]["checks"]
    assert [(each["target"], each["port"]) for each in ran] == [("backend", 8081), ("backend", 9000)]
    status = api.ask("PATCH", f"{BACKENDS}/10.0.0.12", {"checked": False, "check_port": None, "check_path": None})
    assert status.status_code == 200, status.text
    assert status.json()["status"]["health"] == "up"
    assert len(api.health.targets) == 1
    told = api.ask("GET", CHECKS).json()["checks"]
    assert [[one["backend"] for one in check["status"]["backends"]] for check in told] == [["10.0.0.11"]] * 2


def test_the_reason_says_which_of_several_checks_is_down(api: Api) -> None:
    """The first one has failed a single time, which is not enough."""
    api.ask("PUT", CHECKS, {"checks": [{"type": "tcp"}, {"type": "http", "name": "app"}]})
    late, refused = (ProbeResult(passed=False, reason=reason, seconds=0.0) for reason in ("no answer", "refused"))
    portal = api.client.portal
    assert portal is not None
    portal.call(api.health.flip, "10.0.0.11", Health.DOWN, "app: refused")
    found = CheckTally(last=late, verdict=Health.UP), CheckTally(last=refused, verdict=Health.DOWN)
    portal.call(api.health.found, "10.0.0.11", *found)
    end = time.monotonic() + 60
    while not (reason := api.ask("GET", f"{BACKENDS}/10.0.0.11").json()["status"]["reason"]):
        assert time.monotonic() < end, "it is not planned yet"
        time.sleep(0.005)
    assert reason.startswith("its check failed: app: refused")
