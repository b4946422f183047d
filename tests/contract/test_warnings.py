# SPDX-License-Identifier: Apache-2.0
"""What whoever asks for a change may have overlooked: data in the answer, and a line on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.fakes import next_hop
from xdplb.dataplane.plane import BackendCounters
from xdplb.model.backend import Health
from xdplb.model.next_hop import Resolution

from .api_harness import BACKEND, BACKENDS, CHECK, DRAIN, VIP, WEB, Api, running_api
from .cli_harness import Daemon

KEY = "203.0.113.10:443/tcp"
ONE, TWO = {"address": "10.0.0.11"}, {"address": "10.0.0.12"}


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as running:
        running.add("/v1/vips", WEB)
        yield running


def warned(response: Any) -> list[str]:
    """Return the codes of an answer's warnings, which its body has too if it has one."""
    assert response.status_code < 300, response.text
    told = json.loads(response.headers.get("Xdplb-Warnings", "[]"))
    assert all(set(each) == {"code", "vip", "backends", "detail"} and each["vip"] == KEY for each in told)
    if response.content and "warnings" in response.json():
        assert response.json()["warnings"] == told
    return [each["code"] for each in told]


LAST_ONE_GOES: list[tuple[str, str, Any, list[str]]] = [
    ("POST", DRAIN, None, ["no_new_connections"]),
    ("PATCH", BACKEND, {"weight": 0}, ["no_new_connections"]),
    ("PATCH", BACKEND, {"admin_state": "maint"}, ["no_backend"]),
    ("PUT", BACKEND, {"admin_state": "maint"}, ["no_backend"]),
    ("DELETE", BACKEND, None, ["no_backend"]),
    ("PUT", BACKENDS, {"backends": []}, ["no_backend"]),
]


@pytest.mark.parametrize(("method", "path", "body", "codes"), LAST_ONE_GOES)
def test_the_last_backend_does_not_go_without_a_word(
    api: Api, method: str, path: str, body: object, codes: list[str]
) -> None:
    api.add(BACKENDS, ONE)
    foretold = api.ask(method, f"{path}?dry_run=true", body)
    assert warned(foretold) == codes
    assert foretold.json()["warnings"][0]["detail"] not in foretold.json()["changes"]
    done = api.ask(method, path, body)
    assert warned(done) == codes
    assert warned(api.ask(method, path, body) if method != "DELETE" else done) in ([], codes)


@pytest.mark.parametrize(("method", "path", "body"), [case[:3] for case in LAST_ONE_GOES[:-1]])
def test_another_one_that_serves_is_enough(api: Api, method: str, path: str, body: object) -> None:
    api.add(BACKENDS, ONE)
    api.add(BACKENDS, TWO)
    assert warned(api.ask(method, path, body)) == []


def test_a_vip_without_traffic_goes_quietly_and_one_with_open_connections_does_not(api: Api) -> None:
    api.add(BACKENDS, ONE)
    api.add(BACKENDS, TWO)
    assert warned(api.ask("DELETE", f"{VIP}?dry_run=true")) == []
    api.plane.count_backend(1, BackendCounters(packets=7))
    foretold = api.ask("DELETE", f"{VIP}?dry_run=true")
    assert warned(foretold) == ["connections_break"]
    [told] = foretold.json()["warnings"]
    assert told["backends"] == ["10.0.0.11"]
    assert "open connections of VIP 203.0.113.10:443/tcp break: 10.0.0.11 had packets just now" in told["detail"]
    assert f"xdplb backend drain {KEY} 10.0.0.11 --wait" in told["detail"]
    assert warned(api.ask("DELETE", VIP)) == ["connections_break"]


@pytest.mark.parametrize(
    ("method", "body"), [("DELETE", None), ("PATCH", {"admin_state": "maint"}), ("PUT", {"admin_state": "maint"})]
)
def test_a_backend_with_open_connections_does_not_go_without_a_word(api: Api, method: str, body: object) -> None:
    api.add(BACKENDS, ONE)
    api.add(BACKENDS, TWO)
    api.plane.count_backend(1, BackendCounters(packets=7))
    assert warned(api.ask(method, BACKEND, body)) == ["connections_break"]


def test_what_keeps_its_connections_breaks_none(api: Api) -> None:
    api.add(BACKENDS, ONE)
    api.add(BACKENDS, TWO)
    api.plane.count_backend(1, BackendCounters(packets=7))
    assert warned(api.ask("PATCH", BACKEND, {"weight": 0})) == []
    assert warned(api.ask("POST", DRAIN)) == []


def test_a_backend_that_cannot_be_sent_to_yet_is_named_with_the_reason(api: Api) -> None:
    hops: Any = api.manager._next_hops
    hops._answers[ip_address("10.0.0.11")] = Resolution(None, "there is no route to 10.0.0.11")
    response = api.ask("POST", BACKENDS, ONE)
    assert warned(response) == ["cannot_send"]
    assert response.json()["warnings"][0]["detail"] == (
        f"backend 10.0.0.11 of VIP {KEY} gets no packets yet: there is no route to 10.0.0.11"
    )
    assert warned(api.ask("POST", BACKENDS, ONE)) == []
    assert warned(api.ask("POST", BACKENDS, TWO)) == []


def test_a_backend_that_is_to_be_reached_by_dr_and_is_behind_a_gateway_is_named(api: Api) -> None:
    hops: Any = api.manager._next_hops
    hops._answers[ip_address("10.0.0.11")] = Resolution(next_hop(ip_address("10.0.0.11"), gateway="10.0.0.1"))
    api.add(BACKENDS, {**ONE, "forward": "ipip"})
    api.add(BACKENDS, TWO)
    response = api.ask("PATCH", f"{BACKEND}?dry_run=true", {"forward": "dr"})
    assert warned(response) == ["behind_gateway"]
    assert "it is behind the gateway 10.0.0.1, but dr needs it on the balancer's own segment" in response.text


def test_it_is_said_when_backends_whose_check_failed_have_to_serve(api: Api) -> None:
    for one in (ONE, TWO):
        api.add(BACKENDS, one)
    api.ask("PUT", CHECK, {"type": "tcp"})
    api.health.flip("10.0.0.12", Health.DOWN, "refused")
    while api.ask("GET", f"{BACKENDS}/10.0.0.12").json()["status"]["share"]:
        time.sleep(0.005)
    assert warned(api.ask("POST", f"{DRAIN}?dry_run=true", {})) == ["fails_open"]


def test_it_is_said_when_backups_have_to_serve_and_when_too_few_are_healthy(api: Api) -> None:
    for one in (ONE, TWO, {"address": "10.0.0.13", "role": "backup"}):
        api.add(BACKENDS, one)
    told = api.ask("PATCH", f"{VIP}?dry_run=true", {"min_serving": 3})
    assert warned(told) == ["backups_serve"]
    assert "too few primary backends of VIP" in told.text
    assert warned(api.ask("PATCH", f"{VIP}?dry_run=true", {"min_serving": "100%"})) == []
    api.ask("PUT", CHECK, {"type": "tcp"})
    api.health.flip("10.0.0.12", Health.DOWN, "refused")
    while api.ask("GET", f"{BACKENDS}/10.0.0.12").json()["status"]["share"]:
        time.sleep(0.005)
    told = api.ask("PATCH", f"{VIP}?dry_run=true", {"panic_share": 0.9})
    assert warned(told) == ["panics"]
    api.ask("PATCH", VIP, {"panic_share": 0.9})
    status = api.ask("GET", VIP).json()["status"]
    assert (status["operating_status"], status["reason"]) == (
        "FAILING_OPEN",
        "only 1 of 2 primaries are healthy, a smaller share than panic_share (0.9), so the others serve too",
    )


def test_what_was_never_served_and_what_waits_for_its_check_is_no_surprise(api: Api) -> None:
    assert warned(api.ask("PUT", CHECK, {"type": "tcp"})) == []
    assert warned(api.ask("POST", BACKENDS, ONE)) == []
    assert warned(api.ask("DELETE", BACKEND)) == []
    assert warned(api.ask("DELETE", VIP)) == []


def test_commands_print_warnings_to_stderr_and_leave_stdout_as_it_is(web: Daemon) -> None:
    web.ok("backend", "rm", "web", "10.0.0.2")
    sentence = f"no backend of VIP {KEY} takes new connections now"
    for words in (["--dry-run"], ["--dry-run", "-o", "json"], ["-o", "json"]):
        told = web.ok("backend", "drain", "web", "10.0.0.1", *words)
        assert f"warning: {sentence}" in told.stderr
        assert "warning:" not in told.stdout
    told = web.ok("backend", "rm", "web", "10.0.0.1")
    assert "backend 10.0.0.1 of web removed" in told.stderr
