# SPDX-License-Identifier: Apache-2.0
"""The whole configuration at once, several changes in one step, and what a GET returned sent back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.api_harness import (
    ACCESS,
    BACKEND,
    BACKENDS,
    CHECK,
    DRAIN,
    VIP,
    WEB,
    Api,
    path_of,
    problem_of,
    running_api,
)
from xdplb.control.edits.edit import PutConfig, ReleaseConfig
from xdplb.control.writing.request import Outcome, Request
from xdplb_api.schemas.config import Config

CONFIG, OVERLAY, CHANGES = "/v1/config", "/v1/config/overlay", "/v1/changes"
FILE = "/etc/xdplb/config.toml"
FULL: dict[str, Any] = {
    **WEB,
    "forward": "gue",
    "health_check": {"type": "http", "path": "/healthz"},
    "access": {"deny": ["192.0.2.0/24"]},
    "backends": [{"address": "10.0.0.11", "weight": 2}, {"address": "10.0.0.12"}],
}
DNS: dict[str, Any] = {"address": "203.0.113.10", "port": 53, "protocol": "udp", "name": "dns"}


@pytest.fixture
def api() -> Iterator[Api]:
    """One without any VIP."""
    with running_api() as made:
        yield made


def declared(*vips: Any) -> dict[str, Any]:
    return {"vips": list(vips)}


def taken_from_a_file(api: Api, *vips: Any) -> Outcome:
    """Make a config file with these VIPs the owner."""
    edit = PutConfig(Config.model_validate(declared(*vips)).wanted(), FILE)
    return api.client.portal.call(api.manager.change, Request(edit=edit))  # type: ignore[union-attr]


def weight_of(api: Api) -> Any:
    return api.ask("GET", BACKEND).json()["weight"]


def test_a_configuration_is_one_change_and_the_same_one_again_is_none(api: Api) -> None:
    foretold = api.ask("PUT", f"{CONFIG}?dry_run=true", declared(FULL, DNS)).json()
    assert foretold["would_change"]
    assert api.generation() == 0
    done = api.ask("PUT", CONFIG, declared(FULL, DNS))
    assert (done.status_code, done.headers["etag"]) == (200, '"1"')
    assert done.json()["changed"]
    assert done.json()["changes"] == foretold["changes"]
    again = api.ask("PUT", CONFIG, declared(DNS, FULL)).json()
    assert (again["generation"], again["changed"], again["changes"]) == (1, False, [])
    assert [vip["name"] for vip in api.ask("GET", "/v1/vips").json()["vips"]] == ["dns", "web"]
    assert api.ask("GET", CHECK).json()["path"] == "/healthz"
    assert api.ask("GET", ACCESS).json() == {"allow": [], "deny": ["192.0.2.0/24"]}
    assert weight_of(api) == 2


def test_what_is_not_in_it_is_removed_and_what_is_equal_keeps_its_drain(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL, DNS))
    api.ask("POST", DRAIN, {"timeout_seconds": 77})
    drained = api.ask("GET", BACKEND).json()["status"]["drain"]
    shown = api.ask("GET", CONFIG).json()
    assert shown["vips"][1]["backends"][0]["admin_state"] == "drain"
    shown["vips"] = shown["vips"][1:]
    done = api.ask("PUT", CONFIG, shown).json()
    assert done["changes"] == ["VIP 203.0.113.10:53/udp is removed, with its 0 backends"]
    assert api.ask("GET", BACKEND).json()["status"]["drain"] == drained


def test_its_get_sent_back_changes_nothing(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL, DNS))
    shown = api.ask("GET", CONFIG)
    assert shown.headers["etag"] == '"1"'
    assert shown.json()["owner"] is None
    assert not api.ask("PUT", CONFIG, shown.json(), headers={"If-Match": shown.headers["etag"]}).json()["changed"]
    problem_of(api.ask("PUT", CONFIG, declared(), headers={"If-Match": '"0"'}), 412)


def test_names_and_addresses_may_change_hands_in_one_step(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL, DNS))
    other = {**FULL, "name": "dns"}, {**DNS, "name": "web"}
    assert api.ask("PUT", CONFIG, declared(*other)).json()["changed"]
    moved = {**FULL, "address": "10.0.0.11", "backends": [{"address": "203.0.113.10"}]}
    assert api.ask("PUT", CONFIG, declared(moved)).json()["changed"]
    assert [path_of(vip) for vip in api.ask("GET", "/v1/vips").json()["vips"]] == ["10.0.0.11:443:tcp"]


def test_all_that_is_wrong_is_told_with_its_place_and_nothing_changes(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(DNS))
    clash = {**DNS, "port": 80, "protocol": "tcp", "backends": [{"address": "203.0.113.10"}]}
    problem = problem_of(api.ask("PUT", CONFIG, declared(FULL, DNS, clash)), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["/vips/2/name", "/vips/2/backends/0/address"]
    problem = problem_of(api.ask("PUT", CONFIG, declared(FULL, {**DNS, "wieght": 1})), 422)
    assert problem["errors"][0]["pointer"] == "/vips/1/wieght"
    assert problem_of(api.ask("PUT", CONFIG, {}), 422)["errors"][0]["pointer"] == "/vips"
    assert api.generation() == 1


def test_a_configuration_that_has_no_room_is_refused_as_a_whole(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL))
    many = [{**DNS, "name": None, "port": port} for port in range(1, 40)]
    problem_of(api.ask("PUT", CONFIG, declared(*many)), 409)
    assert api.generation() == 1
    assert len(api.ask("GET", "/v1/vips").json()["vips"]) == 1


def test_several_edits_are_one_change(api: Api) -> None:
    edits = [
        {"kind": "create_vip", **WEB},
        {"kind": "create_backend", "vip": "web", "address": "10.0.0.11"},
        {"kind": "put_backend", "vip": "203.0.113.10:443/tcp", "address": "10.0.0.12", "weight": 5},
        {"kind": "patch_backend", "vip": "web", "address": "10.0.0.12", "weight": 3},
        {"kind": "drain_backend", "vip": "web", "address": "10.0.0.11", "timeout_seconds": 60},
        {"kind": "put_check", "vip": "web", "type": "tcp", "rise": 1},
        {"kind": "put_access", "vip": "web", "deny": ["192.0.2.0/24"]},
        {"kind": "patch_access", "vip": "web", "allow": ["198.51.100.0/24"]},
        {"kind": "patch_vip", "vip": "web", "idle_timeout_seconds": 60},
    ]
    assert api.ask("POST", f"{CHANGES}?dry_run=true", {"edits": edits}).json()["would_change"]
    done = api.ask("POST", CHANGES, {"edits": edits})
    assert (done.status_code, done.json()["generation"], done.headers["etag"]) == (200, 1, '"1"')
    shown = api.ask("GET", VIP).json()
    assert (shown["generation"], shown["idle_timeout_seconds"]) == (1, 60)
    assert api.ask("GET", f"{BACKENDS}/10.0.0.12").json()["weight"] == 3
    assert api.ask("GET", ACCESS).json() == {"allow": ["198.51.100.0/24"], "deny": ["192.0.2.0/24"]}
    assert api.ask("GET", CHECK).json()["rise"] == 1
    problem_of(api.ask("POST", CHANGES, {"edits": edits[-1:]}, headers={"If-Match": '"0"'}), 412)
    ends = [{"kind": "undrain_backend", "vip": "web", "address": "10.0.0.11"}]
    ends += [{"kind": "delete_check", "vip": "web"}, {"kind": "delete_vip", "vip": "web"}]
    assert api.ask("POST", CHANGES, {"edits": ends}, headers={"If-Match": '"1"'}).json()["generation"] == 2


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"kind": "patch_backend", "vip": "web", "address": "10.0.0.11", "weight": 70000}, 422, "weight"),
    ({"kind": "patch_backend", "vip": "web", "address": "10.0.0.99", "weight": 7}, 404, "address"),
    ({"kind": "patch_backend", "vip": "web", "address": "10.0.0.11", "wieght": 7}, 422, "wieght"),
    ({"kind": "patch_backend", "vip": "wob", "address": "10.0.0.11", "weight": 7}, 404, "vip"),
    ({"kind": "delete_vip", "vip": "203.0.113.99:443/tcp"}, 404, "vip"),
    ({"kind": "delete_vip"}, 422, "vip"),
    ({"kind": "put_check", "vip": "203.0.113.10:53:udp", "type": "tcp"}, 422, "port"),
    ({"kind": "put_access", "vip": "web", "deny": ["10.0.0.0/8", "x"]}, 422, "deny/1"),
    ({"kind": "put_vip", **WEB, "backends": [{"address": "203.0.113.10"}]}, 422, "backends/0/address"),
    ({"kind": "put_vip", **WEB, "quic": {"server_id_bytes": 2}}, 422, "quic"),
    ({"kind": "put_vip", **WEB, "access": {"allow": ["x"]}}, 422, "access/allow/0"),
    ({"kind": "drop_vip", "vip": "web"}, 422, ""),
    ({"vip": "web"}, 422, ""),
]


def test_an_edit_that_is_wrong_is_pointed_at_and_none_is_made(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL, DNS))
    before = api.everything()
    fine = {"kind": "patch_backend", "vip": "web", "address": "10.0.0.11", "weight": 9}
    for edit, status, pointer in WRONG:
        problem = problem_of(api.ask("POST", CHANGES, {"edits": [fine, edit]}), status)
        assert problem["errors"][0]["pointer"] == f"/edits/1/{pointer}".rstrip("/")
    assert api.everything() == before


def test_what_a_get_returned_can_be_put_and_changes_nothing(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL, DNS))
    for path in (VIP, BACKEND, BACKENDS, CHECK, ACCESS, CONFIG):
        shown = api.ask("GET", path)
        done = api.ask("PUT", path, shown.json(), headers={"If-Match": shown.headers["etag"]})
        assert done.status_code == 200, done.text
        assert api.generation() == 1
        assert api.ask("PUT", path, done.json() if path != CONFIG else shown.json()).status_code == 200
        problem_of(api.ask("PUT", path, {**shown.json(), "statsu": {}}), 422)


def test_one_of_all_backends_can_be_put_too(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL))
    listed = api.ask("GET", "/v1/backends").json()["backends"]
    assert api.ask("PUT", BACKEND, listed[0]).status_code == 200
    assert api.ask("POST", BACKENDS, listed[1]).status_code == 200
    assert api.ask("POST", "/v1/vips", api.ask("GET", VIP).json()).status_code == 200
    assert api.generation() == 1
    api.ask("PATCH", VIP, {"forward": "ipip"})
    assert api.ask("GET", BACKEND).json()["forward"] == "ipip", "it follows its VIP, whatever was sent back"


def test_backends_as_they_are_shown_may_be_pasted_into_a_configuration(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL))
    pasted = {**FULL, "backends": api.ask("GET", BACKENDS).json()["backends"]}
    assert pasted["backends"][0]["forward"] == "gue", "which is the VIP's"
    assert not api.ask("PUT", CONFIG, declared(pasted)).json()["changed"]


@pytest.mark.parametrize("path", [VIP, CONFIG])
def test_a_backend_may_get_a_forward_of_its_own_with_another_one_for_the_vip(api: Api, path: str) -> None:
    api.ask("PUT", CONFIG, declared({**WEB, "forward": "dr", "backends": [{"address": "10.0.0.11"}]}))
    asked = {**WEB, "forward": "gue", "backends": [{"address": "10.0.0.11", "forward": "dr"}]}
    assert api.ask("PUT", path, asked if path == VIP else declared(asked)).status_code == 200
    assert api.ask("GET", BACKEND).json()["forward"] == "dr"


def test_a_later_edit_may_use_the_name_that_an_earlier_one_gives(api: Api) -> None:
    api.ask("PUT", CONFIG, declared(FULL))
    edits = [
        {"kind": "patch_vip", "vip": "web", "name": "shop"},
        {"kind": "patch_backend", "vip": "shop", "address": "10.0.0.11", "weight": 9},
    ]
    assert api.ask("POST", CHANGES, {"edits": edits}).status_code == 200
    assert weight_of(api) == 9


def test_a_put_of_a_vip_may_bring_its_backends_check_and_access_list(api: Api) -> None:
    made = api.ask("POST", "/v1/vips", FULL)
    assert (made.status_code, made.json()["generation"]) == (201, 1)
    assert api.ask("POST", "/v1/vips", FULL).status_code == 200
    other = {**FULL, "forward": "ipip", "backends": [{"address": "2001:db8::11"}], "health_check": None}
    assert api.ask("PUT", VIP, other).json()["generation"] == 2
    assert [one["address"] for one in api.ask("GET", BACKENDS).json()["backends"]] == ["2001:db8::11"]
    problem_of(api.ask("GET", CHECK), 404)
    assert api.ask("GET", ACCESS).json()["deny"] == ["192.0.2.0/24"]
    # Each part that is not given stays; all of it is checked as it will be.
    assert api.ask("PUT", VIP, {"forward": "gue"}).json()["status"]["backends"] == 1
    problem_of(api.ask("PUT", VIP, {"forward": "dr"}), 422)
    assert api.ask("PUT", VIP, {"forward": "dr", "backends": [{"address": "10.0.0.1"}]}).status_code == 200
    problem = problem_of(api.ask("PUT", VIP, {"backends": [{"address": "10.0.0.1"}, {"address": "10.0.0.1"}]}), 422)
    assert problem["errors"][0]["pointer"] == "/backends/1/address"
    problem = problem_of(api.ask("POST", "/v1/vips", {**WEB, "backends": []}), 409)
    assert "/backends" in [error["pointer"] for error in problem["errors"]]


def test_what_a_file_owns_only_the_file_changes(api: Api) -> None:
    taken_from_a_file(api, FULL)
    for method, path, body in (
        ("POST", "/v1/vips", DNS),
        ("DELETE", VIP, None),
        ("PATCH", VIP, {"forward": "ipip"}),
        ("PUT", VIP, {"forward": "ipip"}),
        ("POST", BACKENDS, {"address": "10.0.0.13"}),
        ("PUT", BACKENDS, {"backends": []}),
        ("PATCH", BACKEND, {"forward": "ipip"}),
        ("DELETE", BACKEND, None),
        ("PUT", CHECK, {"type": "tcp"}),
        ("DELETE", CHECK, None),
        ("PUT", ACCESS, {"deny": []}),
        ("DELETE", ACCESS, None),
        ("PUT", CONFIG, declared(DNS)),
        ("POST", CHANGES, {"edits": [{"kind": "delete_backend", "vip": "web", "address": "10.0.0.11"}]}),
    ):
        asks = [path] if path == CONFIG else [path, f"{path}?dry_run=true"]
        for ask in asks:
            problem = problem_of(api.ask(method, ask, body), 409)
            assert problem["type"] == "urn:xdplb:problem:owned-by-file"
            assert FILE in problem["detail"]
            assert "systemctl reload" in problem["hint"]
    # What the file would do if it said this may be asked.
    assert api.ask("PUT", f"{CONFIG}?dry_run=true", declared(DNS)).json()["would_change"]
    assert api.generation() == 1
    assert api.ask("POST", "/v1/vips", FULL).status_code == 200
    assert not api.ask("PUT", CONFIG, api.ask("GET", CONFIG).json()).json()["changed"]
    assert api.generation() == 1


def test_weights_and_drains_lie_over_the_file_until_both_agree(api: Api) -> None:
    taken_from_a_file(api, FULL)
    assert api.ask("POST", DRAIN).status_code == 202
    assert api.ask("PATCH", f"{BACKENDS}/10.0.0.12", {"weight": 9}).json()["declared"] == {
        "weight": 1,
        "admin_state": "ready",
    }
    shown = api.ask("GET", CONFIG).json()
    assert shown["owner"] == FILE
    assert [(one["address"], one["weight"], one["admin_state"]) for one in shown["overlay"]] == [
        ("10.0.0.11", 2, "drain"),
        ("10.0.0.12", 9, "ready"),
    ]
    assert [one["weight"] for one in shown["vips"][0]["backends"]] == [2, 1], "without the overlay"
    assert api.ask("GET", OVERLAY).json()["overlay"] == shown["overlay"]
    assert api.ask("GET", "/v1/status").json()["config"] == {"owner": FILE, "overlay": 2, "error": ""}
    # The file is read again, with another weight below the overlay.
    changed = {**FULL, "backends": [{"address": "10.0.0.11", "weight": 4}, {"address": "10.0.0.12"}]}
    taken_from_a_file(api, changed)
    backend = api.ask("GET", BACKEND).json()
    assert (backend["weight"], backend["admin_state"]) == (4, "drain")
    assert backend["declared"] == {"weight": 4, "admin_state": "ready"}
    assert api.ask("DELETE", DRAIN).json()["declared"] is None
    assert api.ask("PATCH", f"{BACKENDS}/10.0.0.12", {"weight": 1}).json()["declared"] is None
    assert api.ask("GET", OVERLAY).json() == {"overlay": []}


def test_an_overlay_is_cleared_of_one_backend_or_of_all(api: Api) -> None:
    taken_from_a_file(api, FULL)
    for last in (11, 12):
        api.ask("PATCH", f"{BACKENDS}/10.0.0.{last}", {"admin_state": "maint"})
    assert api.ask("DELETE", f"{OVERLAY}?dry_run=true").json()["would_change"]
    assert api.ask("DELETE", f"{BACKEND}/overlay").status_code == 204
    assert [one["address"] for one in api.ask("GET", OVERLAY).json()["overlay"]] == ["10.0.0.12"]
    assert api.ask("DELETE", OVERLAY).status_code == 204
    before = api.generation()
    assert api.ask("DELETE", OVERLAY).status_code == 204
    assert (api.generation(), api.ask("GET", OVERLAY).json()) == (before, {"overlay": []})


def test_the_file_gives_it_back_to_the_api_with_the_overlay_in_it(api: Api) -> None:
    taken_from_a_file(api, FULL)
    api.ask("PATCH", BACKEND, {"weight": 9})
    api.client.portal.call(api.manager.change, Request(edit=ReleaseConfig()))  # type: ignore[union-attr]
    backend = api.ask("GET", BACKEND).json()
    assert (backend["weight"], backend["declared"]) == (9, None)
    assert api.ask("PATCH", VIP, {"forward": "ipip"}).status_code == 200
