# SPDX-License-Identifier: Apache-2.0
"""Roles: what each may do, at every route, and what is said to whoever may not."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from tests.contract.api_harness import (
    ACCESS,
    ADMIN,
    BACKEND,
    BACKENDS,
    CHECK,
    DRAIN,
    VIP,
    WEB,
    Api,
    problem_of,
    running_api,
)
from xdplb.control.edits import edit as edits
from xdplb.control.edits.edit import Batch, ClearOverlay, DrainBackend, PatchBackend, UndrainBackend
from xdplb.control.edits.rights import role_for
from xdplb.control.events import Event, RequestForbidden
from xdplb.model.address import parse_address
from xdplb.model.key import VipKey
from xdplb.model.role import Role
from xdplb_api import routes
from xdplb_api.app import LARGE
from xdplb_api.rights.needs import NEEDS

KEY = VipKey.parse("203.0.113.10:443/tcp")
ONE = parse_address("10.0.0.11")
NETOPS = replace(ADMIN, uid=1000, user="anna", role=Role.OPERATE)
READER = replace(ADMIN, uid=1001, user="prometheus", role=Role.READ)


def _routes() -> Iterator[APIRoute]:
    for found in pkgutil.iter_modules(routes.__path__):
        router: APIRouter = importlib.import_module(f"{routes.__name__}.{found.name}").router
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield route


def test_no_route_is_without_a_role_and_what_changes_something_is_not_for_readers() -> None:
    found = list(_routes())
    assert len(found) > 30
    for route in found:
        role = Role((route.openapi_extra or {})[NEEDS])
        assert role.includes(Role.OPERATE) or set(route.methods or ()) <= {"GET", "HEAD"}, route.path


def test_only_what_an_operator_does_every_day_needs_no_admin() -> None:
    operated = {
        (method, route.path) for route in _routes() for method in route.methods or () if _role(route) is Role.OPERATE
    }
    assert operated == {
        ("POST", "/vips/{vip:vip}/backends/{address}/drain"),
        ("DELETE", "/vips/{vip:vip}/backends/{address}/drain"),
        ("PATCH", "/vips/{vip:vip}/backends/{address}"),
        ("POST", "/vips/{vip:vip}/probe"),
        ("POST", "/vips/{vip:vip}/backends/{address}/probe"),
        ("GET", "/capture"),
        ("HEAD", "/capture"),
        ("POST", "/changes"),
        ("DELETE", "/config/overlay"),
        ("DELETE", "/vips/{vip:vip}/backends/{address}/overlay"),
        ("GET", "/records"),
        ("HEAD", "/records"),
        ("POST", "/nodes/{name}/drain"),
        ("DELETE", "/nodes/{name}/drain"),
        ("DELETE", "/dns/nodes/{node}"),
    }


def _role(route: APIRoute) -> Role:
    return Role((route.openapi_extra or {})[NEEDS])


def test_answers_that_are_shared_are_for_all_who_may_read() -> None:
    gets = [route for route in _routes() if "GET" in (route.methods or ())]
    assert {_role(route) for route in gets if route.path in LARGE or f"/v1{route.path}" in LARGE} == {Role.READ}


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({"weight": 3}, Role.OPERATE),
        ({"admin_state": "maint"}, Role.OPERATE),
        ({"weight": None, "admin_state": "drain"}, Role.OPERATE),
        ({"forward": "ipip"}, Role.ADMIN),
        ({"weight": 3, "quic_server_id": "0a"}, Role.ADMIN),
    ],
)
def test_a_patch_of_a_backend_is_an_operators_if_it_changes_only_weight_and_state(
    changes: dict[str, Any], role: Role
) -> None:
    assert role_for(PatchBackend(KEY, ONE, changes)) is role


def test_every_other_edit_is_an_admins_and_a_batch_needs_the_highest_of_its_edits() -> None:
    drain, undrain, clear = DrainBackend(KEY, ONE), UndrainBackend(KEY, ONE), ClearOverlay()
    assert [role_for(one) for one in (drain, undrain, clear, Batch((drain, undrain, clear)))] == [Role.OPERATE] * 4
    assert role_for(Batch(())) is Role.ADMIN
    for name in set(edits.__all__) - {"Batch", "ClearOverlay", "DrainBackend", "PatchBackend", "UndrainBackend"}:
        kind = getattr(edits, name)
        if is_dataclass(kind):
            other: Any = object.__new__(kind)  # type: ignore[arg-type]
            assert role_for(other) is Role.ADMIN, name
            assert role_for(Batch((drain, other))) is Role.ADMIN, name


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as running:
        running.add("/v1/vips", WEB)
        running.add(BACKENDS, {"address": "10.0.0.11"})
        yield running


def test_an_operator_drains_weighs_and_captures_and_changes_nothing_else(api: Api) -> None:
    api.act_as(NETOPS)
    assert api.ask("PATCH", BACKEND, {"weight": 3}).status_code == 200
    assert api.ask("PATCH", BACKEND, {"admin_state": "maint"}).status_code == 200
    assert api.ask("PATCH", BACKEND, {"admin_state": "ready"}).status_code == 200
    assert api.ask("POST", DRAIN).status_code == 202
    assert api.ask("DELETE", DRAIN).status_code == 200
    assert api.ask("GET", "/v1/capture?seconds=0.01").status_code == 200
    before = api.everything()
    for method, path, body in (
        ("PATCH", BACKEND, {"forward": "ipip"}),
        ("PATCH", BACKEND, {"weight": 4, "forward": "ipip"}),
        ("PATCH", f"{BACKEND}?dry_run=true", {"forward": "ipip"}),
        ("PUT", BACKEND, {"weight": 4}),
        ("DELETE", BACKEND, None),
        ("POST", BACKENDS, {"address": "10.0.0.12"}),
        ("PUT", BACKENDS, {"backends": []}),
        ("PUT", CHECK, {"type": "tcp"}),
        ("PUT", ACCESS, {"deny": ["192.0.2.0/24"]}),
        ("PATCH", VIP, {"name": "other"}),
        ("DELETE", VIP, None),
        ("POST", "/v1/vips", WEB),
        ("POST", "/v1/tokens", {"name": "mine", "role": "admin"}),
        ("GET", "/v1/tokens", None),
    ):
        problem = problem_of(api.ask(method, path, body), 403)
        assert problem["type"] == "urn:xdplb:problem:forbidden"
        assert problem["detail"].endswith("needs the role admin, and yours is operate")
        assert "--socket-group" in problem["hint"]
    assert api.everything() == before


def test_a_reader_reads_and_that_is_all(api: Api) -> None:
    api.act_as(READER)
    for path in (
        "/v1/vips",
        VIP,
        BACKENDS,
        "/v1/stats",
        "/v1/status",
        "/metrics",
        "/healthz",
        "/openapi.json",
        "/docs",
    ):
        assert api.ask("GET", path).status_code == 200, path
        assert api.ask("HEAD", path).status_code == 200, path
    for method, path, needed in (
        ("POST", DRAIN, "operate"),
        ("GET", "/v1/capture", "operate"),
        ("HEAD", "/v1/capture", "operate"),
        ("DELETE", VIP, "admin"),
    ):
        answer = api.ask(method, path)
        assert answer.status_code == 403, path
        assert method == "HEAD" or f"needs the role {needed}, and yours is read" in answer.json()["detail"]
    assert problem_of(api.ask("GET", "/v1/nothing"), 404)


def test_what_is_refused_is_an_event_that_no_flood_of_them_repeats(api: Api) -> None:
    events: list[Event] = []
    api.manager.events.listen(events.append)
    api.act_as(NETOPS)
    for _ in range(50):
        api.ask("DELETE", VIP)
    api.act_as(READER)
    api.ask("POST", DRAIN)
    told = [event for event in events if isinstance(event, RequestForbidden)]
    assert told == [
        RequestForbidden(NETOPS, f"DELETE {VIP}", "admin", 1),
        RequestForbidden(READER, f"POST {DRAIN}", "operate", 1),
    ]


def test_who_has_no_role_reads_nothing(api: Api) -> None:
    api.act_as(replace(ADMIN, uid=1002, user="eve", role=None))
    for path in ("/v1/vips", "/healthz", "/openapi.json", "/docs", "/v1/nothing"):
        problem = problem_of(api.ask("GET", path), 403)
        assert problem["detail"] == "user eve has no role here: none of its groups has one"
