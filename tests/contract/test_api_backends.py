# SPDX-License-Identifier: Apache-2.0
"""Backends, drains, health checks and counters over REST."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.api_harness import BACKEND, BACKENDS, CHECK, DRAIN, VERSION, VIP, WEB, Api, problem_of, running_api
from xdplb.commit import commit
from xdplb.control.edits.edit import DeleteVip, PatchVip
from xdplb.control.health.standing import Standing
from xdplb.control.writing.request import Outcome, Request
from xdplb.dataplane.versions import layout_name
from xdplb.model.backend import Health
from xdplb.model.vip import VipKey

KEY = VipKey.parse("203.0.113.10:443/tcp")


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as api:
        api.add("/v1/vips", WEB)
        yield api


def test_a_new_backend_serves_and_says_how_it_is_reached(api: Api):
    response = api.ask("POST", BACKENDS, {"address": "10.0.0.11", "weight": 2})

    assert response.status_code == 201
    assert response.headers["location"] == BACKEND
    body = response.json()
    assert response.headers["etag"] == f'"{body["generation"]}"'
    assert (body["weight"], body["forward"], body["admin_state"]) == (2, "dr", "ready")
    status = body["status"]
    assert (status["health"], status["share"], status["interface"]) == ("up", 1.0, "eth0")
    assert status["mac"] == "02:00:0a:00:00:0b"
    assert status["observed_generation"] == body["generation"]
    assert status["drain"] is None
    assert api.ask("GET", VIP).json()["status"]["operating_status"] == "ONLINE"


def test_a_backend_has_its_own_way_or_that_of_its_vip(api: Api):
    own = api.add(BACKENDS, {"address": "10.0.0.11", "forward": "ipip"})
    as_vip = api.add(BACKENDS, {"address": "10.0.0.12"})

    assert (own["forward"], as_vip["forward"]) == ("ipip", "dr")
    assert api.ask("PATCH", BACKEND, {"forward": None}).json()["forward"] == "dr"


def test_the_same_backend_again_changes_nothing_and_a_different_one_is_a_conflict(api: Api):
    first = api.add(BACKENDS, {"address": "10.0.0.11"})
    again = api.ask("POST", BACKENDS, {"address": "10.0.0.11"})

    assert (again.status_code, again.json()["generation"]) == (200, first["generation"])
    before = api.everything()
    problem = problem_of(api.ask("POST", BACKENDS, {"address": "10.0.0.11", "weight": 9}), 409)
    assert problem["errors"] == [{"pointer": "/weight", "detail": "weight (1, asked 9)"}]
    assert "weight (1, asked 9)" in problem["detail"]
    assert api.everything() == before


def test_put_patch_and_delete_of_one_backend(api: Api):
    created = api.ask("PUT", BACKEND, {"weight": 3})
    again = api.ask("PUT", BACKEND, {"weight": 3, "address": "10.0.0.11"})
    assert (created.status_code, again.status_code) == (201, 200)
    assert again.json()["generation"] == created.json()["generation"]

    changed = api.ask("PATCH", BACKEND, {"admin_state": "maint"})
    assert (changed.json()["admin_state"], changed.json()["weight"]) == ("maint", 3)
    assert changed.json()["status"]["share"] == 0

    problem_of(api.ask("PATCH", BACKEND, {"weight": 4}, headers={"If-Match": created.headers["etag"]}), 412)
    assert api.ask("DELETE", BACKEND).status_code == 204
    problem_of(api.ask("DELETE", BACKEND), 404)
    problem_of(api.ask("PATCH", BACKEND, {"weight": 4}), 404)


def test_the_whole_set_is_replaced_in_one_step_under_the_etag_of_the_list(api: Api):
    api.add(BACKENDS, {"address": "10.0.0.11"})
    old = api.ask("GET", BACKENDS).headers["etag"]
    wanted = {"backends": [{"address": "10.0.0.12", "weight": 3}, {"address": "10.0.0.13"}]}

    replaced = api.ask("PUT", BACKENDS, wanted, headers={"If-Match": old})

    assert replaced.status_code == 200
    assert [(backend["address"], backend["weight"]) for backend in replaced.json()["backends"]] == [
        ("10.0.0.12", 3),
        ("10.0.0.13", 1),
    ]
    assert replaced.headers["etag"] == api.ask("GET", BACKENDS).headers["etag"] != old
    problem_of(api.ask("PUT", BACKENDS, wanted, headers={"If-Match": old}), 412)
    again = api.ask("PUT", BACKENDS, wanted)
    assert again.headers["etag"] == replaced.headers["etag"]


def test_a_drain_is_accepted_takes_no_new_connections_and_can_be_called_off(api: Api):
    api.add(BACKENDS, {"address": "10.0.0.11"})
    api.add(BACKENDS, {"address": "10.0.0.12"})

    response = api.ask("POST", DRAIN, {"timeout_seconds": 30, "quiet_seconds": 5})

    assert response.status_code == 202
    body = response.json()
    assert body["admin_state"] == "drain"
    assert body["status"]["share"] == 0
    drain = body["status"]["drain"]
    assert (drain["state"], drain["quiet_seconds"]) == ("draining", 5)
    assert drain["started"] < drain["deadline"]

    off = api.ask("DELETE", DRAIN)
    assert off.status_code == 200
    assert (off.json()["admin_state"], off.json()["status"]["drain"]) == ("ready", None)


def test_a_drain_leaves_a_certificate(api: Api):
    api.add(BACKENDS, {"address": "10.0.0.11"})
    assert "has not been drained" in problem_of(api.ask("GET", DRAIN), 404)["detail"]
    began = api.ask("POST", DRAIN, {"quiet_seconds": 0, "timeout_seconds": 9, "cut_at_deadline": True}).json()
    assert began["status"]["drain"]["cut_at_deadline"]
    told: Any = {}
    end = time.monotonic() + 20
    while told.get("outcome") != "drained" and time.monotonic() < end:
        time.sleep(0.02)
        told = api.ask("GET", DRAIN).json()
    assert (told["seen"], told["cut"], told["left"], told["silent_at_most"]) == (0, 0, 0, 0)
    assert (told["started"], told["known_by"]) == (began["status"]["drain"]["started"], "records_since")
    api.ask("DELETE", DRAIN)
    assert api.ask("GET", DRAIN).json() == told == api.ask("GET", BACKEND).json()["status"]["certificate"]


@pytest.mark.parametrize(("body", "quiet"), [(None, 10), ({}, 10), ({"timeout_seconds": 4}, 4)])
def test_a_drain_has_its_usual_times_unless_told_others(api: Api, body: object, quiet: float):
    api.add(BACKENDS, {"address": "10.0.0.11"})

    assert api.ask("POST", DRAIN, body).json()["status"]["drain"]["quiet_seconds"] == quiet


def test_a_health_check_is_set_shown_with_what_it_found_and_removed(api: Api):
    api.add(BACKENDS, {"address": "10.0.0.11"})
    problem_of(api.ask("GET", CHECK), 404)

    created = api.ask("PUT", CHECK, {"type": "http", "path": "/healthz", "interval_seconds": 1})
    again = api.ask("PUT", CHECK, {"type": "http", "path": "/healthz", "interval_seconds": 1})
    assert (created.status_code, again.status_code) == (201, 200)
    assert again.headers["etag"] == created.headers["etag"]
    body = created.json()
    assert (body["type"], body["path"], body["port"], body["expect_status"]) == ("http", "/healthz", None, [200])
    assert (body["interval_seconds"], body["target"]) == (1, "vip")

    assert api.client.portal is not None
    api.client.portal.call(api.health.flip, "10.0.0.11", Health.DOWN, "connection refused")
    [found] = api.ask("GET", CHECK).json()["status"]["backends"]
    assert (found["backend"], found["health"], found["last_passed"]) == ("10.0.0.11", "down", False)
    assert "connection refused" in found["reason"]

    assert api.ask("DELETE", CHECK).status_code == 204
    problem_of(api.ask("DELETE", CHECK), 404)


def test_a_new_backend_under_a_check_is_unknown_and_takes_nothing(api: Api):
    api.ask("PUT", CHECK, {"type": "tcp"})

    status = api.add(BACKENDS, {"address": "10.0.0.11"})["status"]
    assert (status["health"], status["share"]) == ("unknown", 0)


def test_counters_data_plane_status_and_version_are_shown(api: Api):
    api.add(BACKENDS, {"address": "10.0.0.11"})

    stats = api.ask("GET", "/v1/stats").json()
    [vip] = stats["vips"]
    assert (vip["vip"], vip["packets"], [backend["backend"] for backend in vip["backends"]]) == (
        "203.0.113.10:443/tcp",
        0,
        ["10.0.0.11"],
    )
    assert api.ask("GET", f"{VIP}/stats").json() == vip
    assert stats["drops"]
    dataplane = api.ask("GET", "/v1/dataplane").json()
    assert dataplane["vips"] == {"used": 1, "capacity": 16}
    assert dataplane["backends"]["used"] == 1
    status = api.ask("GET", "/v1/status").json()
    assert status["observed_generation"] == status["generation"]
    assert [vip["name"] for vip in status["vips"]] == ["web"]
    version = api.ask("GET", "/v1/version").json()
    assert version == {"version": VERSION, "commit": commit(), "map_layout": layout_name(), "api": "v1"}


def test_it_is_alive_and_says_why_it_is_not_ready(api: Api, monkeypatch: pytest.MonkeyPatch):
    assert api.ask("GET", "/healthz").json() == {"status": "ok"}
    assert api.ask("GET", "/readyz").json() == {"ready": True, "vips": []}

    monkeypatch.setattr(type(api.manager.answers), "not_ready", lambda _: ["no NIC is attached"])
    problem = problem_of(api.ask("GET", "/readyz"), 503)
    assert problem["reasons"] == ["no NIC is attached"]
    assert "no NIC is attached" in problem["detail"]
    assert api.ask("GET", "/v1/status").json()["not_ready"] == ["no NIC is attached"]


def test_it_is_not_ready_while_checks_are_not_run(api: Api):
    reason = "3 of 5 health checks have had no result for 9 s, so a backend that fails is not noticed: no file"
    api.health.stands = Standing(checks=5, overdue=3, probes=7, most_probes=8, reason=reason)
    assert problem_of(api.ask("GET", "/readyz"), 503)["reasons"] == [reason]
    status = api.ask("GET", "/v1/status").json()
    assert (status["ready"], status["not_ready"]) == (False, [reason])


def test_lists_are_in_the_order_of_addresses(api: Api):
    for address in ("203.0.113.9", "203.0.113.100"):
        api.add("/v1/vips", {"address": address, "port": 80, "protocol": "udp"})
    for address in ("10.0.0.12", "10.0.0.9", "10.0.0.100"):
        api.add(BACKENDS, {"address": address})
    api.ask("PUT", CHECK, {"type": "tcp"})

    vips = ["203.0.113.9", "203.0.113.10", "203.0.113.100"]
    backends = ["10.0.0.9", "10.0.0.12", "10.0.0.100"]
    for path in ("/v1/vips", "/v1/status"):
        assert [vip["address"] for vip in api.ask("GET", path).json()["vips"]] == vips
    assert [backend["address"] for backend in api.ask("GET", BACKENDS).json()["backends"]] == backends
    assert [result["backend"] for result in api.ask("GET", CHECK).json()["status"]["backends"]] == backends


@pytest.fixture(params=[PatchVip(KEY, {"name": "renamed"}), DeleteVip(KEY)], ids=["renamed", "removed"])
def busy(api: Api, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Api:
    """An API with a backend, where somebody renames or removes the VIP right after each change."""
    api.add(BACKENDS, {"address": "10.0.0.11"})
    change = api.manager.change

    async def change_and_more(asked: Request) -> Outcome:
        outcome = await change(asked)
        await change(Request(edit=request.param))
        return outcome

    monkeypatch.setattr(api.manager, "change", change_and_more)
    return api


def test_new_backends_are_answered_even_if_their_vip_is_renamed_or_removed_meanwhile(busy: Api):
    response = busy.ask("PUT", "/v1/vips/web/backends", {"backends": [{"address": "10.0.0.12"}]})

    assert response.status_code == 200, response.text
    assert [backend["address"] for backend in response.json()["backends"]] == ["10.0.0.12"]
    assert response.headers["etag"] == f'"{busy.generation() - 1}"'


def test_a_new_check_is_answered_even_if_its_vip_is_renamed_or_removed_meanwhile(busy: Api):
    response = busy.ask("PUT", "/v1/vips/web/health-check", {"type": "tcp"})

    assert response.status_code == 201, response.text
    assert [result["backend"] for result in response.json()["status"]["backends"]] == ["10.0.0.11"]
    assert response.headers["etag"] == f'"{busy.generation() - 1}"'


def test_what_is_removed_before_the_change_is_told_by_the_path(api: Api, monkeypatch: pytest.MonkeyPatch):
    api.add(BACKENDS, {"address": "10.0.0.11"})
    change = api.manager.change

    async def remove_first(asked: Request) -> Outcome:
        await change(Request(edit=DeleteVip(KEY)))
        return await change(asked)

    monkeypatch.setattr(api.manager, "change", remove_first)
    response = api.ask("PATCH", BACKEND, {"weight": 2})
    assert response.status_code == 404
    assert [error["pointer"] for error in response.json()["errors"]] == ["/path/vip"]
