# SPDX-License-Identifier: Apache-2.0
"""VIPs over REST."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.api_harness import BACKENDS, VIP, WEB, Api, problem_of, running_api


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as api:
        yield api


def test_a_new_vip_is_answered_with_where_it_is_and_is_in_the_data_plane(api: Api):
    response = api.ask("POST", "/v1/vips", WEB)

    assert response.status_code == 201
    assert response.headers["location"] == VIP
    body = response.json()
    assert response.headers["etag"] == f'"{body["generation"]}"'
    assert body["status"]["observed_generation"] == body["generation"]
    assert body["status"]["operating_status"] == "NO_BACKEND"
    assert body["forward"] == "dr"
    assert body["idle_timeout_seconds"] == 900
    assert [str(entry.key) for entry in api.plane.read_vips().values()] == ["203.0.113.10:443/tcp"]


def test_the_same_vip_again_changes_nothing(api: Api):
    first = api.add("/v1/vips", WEB)
    again = api.ask("POST", "/v1/vips", WEB)

    assert again.status_code == 200
    assert again.json()["generation"] == first["generation"] == api.generation()
    assert "location" not in again.headers


def test_another_vip_of_the_same_key_is_a_conflict_that_says_what_differs(api: Api):
    api.add("/v1/vips", WEB)

    before = api.everything()

    problem = problem_of(api.ask("POST", "/v1/vips", {**WEB, "forward": "ipip"}), 409)
    assert problem["errors"] == [{"pointer": "/forward", "detail": "forward (dr, asked ipip)"}]
    assert "forward (dr, asked ipip)" in problem["detail"]
    assert api.everything() == before
    assert problem["hint"]


@pytest.mark.parametrize("reference", ["203.0.113.10:443:tcp", "203.0.113.10:443%2Ftcp", "web"])
def test_a_vip_has_three_spellings(api: Api, reference: str):
    api.add("/v1/vips", WEB)
    api.add(BACKENDS, {"address": "10.0.0.11"})

    assert api.ask("GET", f"/v1/vips/{reference}").json()["name"] == "web"
    assert api.ask("GET", f"/v1/vips/{reference}/backends/10.0.0.11").status_code == 200
    assert api.ask("GET", f"/v1/vips/{reference}/stats").json()["vip"] == "203.0.113.10:443/tcp"
    assert api.ask("DELETE", f"/v1/vips/{reference}").status_code == 204


def test_the_list_has_an_etag_that_changes_with_it(api: Api):
    before = api.ask("GET", "/v1/vips")
    api.add("/v1/vips", WEB)
    after = api.ask("GET", "/v1/vips")

    assert before.json() == {"vips": []}
    assert [vip["name"] for vip in after.json()["vips"]] == ["web"]
    assert before.headers["etag"] != after.headers["etag"]


def test_put_creates_replaces_and_can_be_repeated(api: Api):
    created = api.ask("PUT", VIP, {"forward": "ipip", "name": "web"})
    again = api.ask("PUT", VIP, {"forward": "ipip", "name": "web"})
    replaced = api.ask("PUT", VIP, {})

    assert (created.status_code, again.status_code, replaced.status_code) == (201, 200, 200)
    assert created.headers["location"] == VIP
    assert again.json() == created.json()
    assert (replaced.json()["forward"], replaced.json()["name"]) == ("dr", None)


def test_put_under_a_new_name_takes_the_key_from_the_body_and_under_a_known_one_from_the_vip(api: Api):
    key = {"address": "203.0.113.11", "port": 25, "protocol": "tcp"}

    problem = problem_of(api.ask("PUT", "/v1/vips/mail", {"port": 25}), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["/address", "/protocol"]
    created = api.ask("PUT", "/v1/vips/mail", key)
    changed = api.ask("PUT", "/v1/vips/mail", {"tracking": "always"})
    assert (created.status_code, changed.status_code) == (201, 200)
    assert {name: changed.json()[name] for name in key} == key
    assert changed.json()["name"] == "mail"


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        (VIP, {"port": 80}, "/port"),
        (VIP, {"address": "203.0.113.11"}, "/address"),
        ("/v1/vips/web", {"name": "www"}, "/name"),
        ("/v1/vips/web", {"protocol": "udp"}, "/protocol"),
    ],
)
def test_put_refuses_a_body_that_is_about_another_vip_than_its_path(api: Api, path: str, body: object, pointer: str):
    api.add("/v1/vips", WEB)
    before = api.everything()

    problem = problem_of(api.ask("PUT", path, body), 422)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert api.everything() == before


@pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json"])
def test_patch_changes_what_it_names_and_null_is_the_default(api: Api, media_type: str):
    api.add("/v1/vips", {**WEB, "forward": "ipip", "tracking": "always"})

    response = api.client.patch(VIP, content=b'{"forward": null}', headers={"content-type": media_type})

    assert response.status_code == 200
    body = response.json()
    assert (body["forward"], body["tracking"], body["name"]) == ("dr", "always", "web")


@pytest.mark.parametrize(("protocol", "status"), [("udp", 422), ("tcp+udp", 200)])
def test_new_flows_are_limited_only_where_a_vip_takes_tcp(api: Api, protocol: str, status: int):
    api.add("/v1/vips", {**WEB, "protocol": protocol, "limits": {"source_packets": 7}})
    before = api.everything()

    response = api.ask("PATCH", "/v1/vips/web", {"limits": {"source_new_flows": 5}})

    assert response.status_code == status
    if status == 422:
        problem = problem_of(response, 422)
        assert [error["pointer"] for error in problem["errors"]] == ["/limits/source_new_flows"]
        assert problem["hint"].startswith("limit source_packets instead")
        assert api.everything() == before


def test_patch_refuses_another_key_and_takes_the_same(api: Api):
    api.add("/v1/vips", WEB)

    assert api.ask("PATCH", VIP, {"port": 443, "address": "203.0.113.10"}).status_code == 200
    problem = problem_of(api.ask("PATCH", VIP, {"port": 80}), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["/port"]


@pytest.mark.parametrize(
    ("method", "body"), [("PUT", {"forward": "ipip"}), ("PATCH", {"forward": "ipip"}), ("DELETE", None)]
)
def test_a_change_under_an_old_etag_is_refused_and_under_the_current_one_made(api: Api, method: str, body: object):
    old = api.ask("POST", "/v1/vips", WEB).headers["etag"]
    current = api.ask("PATCH", VIP, {"tracking": "always"}).headers["etag"]
    before = api.everything()

    problem_of(api.ask(method, VIP, body, headers={"If-Match": old}), 412)
    assert api.everything() == before
    assert api.ask(method, VIP, body, headers={"If-Match": current}).status_code in {200, 204}
    assert api.everything() != before


@pytest.mark.parametrize(
    ("if_match", "status"), [("7", 422), ('"1", "2"', 422), ("", 422), ("*", 422), ('W/"1"', 412), ('"x"', 412)]
)
def test_an_if_match_that_is_no_etag_of_ours_changes_nothing(api: Api, if_match: str, status: int):
    api.add("/v1/vips", WEB)
    before = api.everything()

    problem = problem_of(api.ask("DELETE", VIP, headers={"If-Match": if_match}), status)
    assert [error["pointer"] for error in problem["errors"]] == ["/header/If-Match"]
    assert api.everything() == before


def test_delete_removes_it_once(api: Api):
    api.add("/v1/vips", WEB)

    gone = api.ask("DELETE", VIP)
    assert (gone.status_code, gone.content) == (204, b"")
    problem_of(api.ask("DELETE", VIP), 404)
    problem_of(api.ask("GET", VIP), 404)
    assert not api.plane.read_vips()


@pytest.mark.parametrize(
    ("path", "ports"),
    [
        ("/v1/vips/203.0.113.0_24:1-65535:tcp", {"port": 1, "last_port": 65535}),
        ("/v1/vips/203.0.113.0_24:0:tcp", {"port": 0, "last_port": None}),
        ("/v1/vips/203.0.113.0_24:443:tcp", {"port": 443, "last_port": 443}),
        ("/v1/vips/203.0.113.0_24:8000-8999:tcp", {"port": 8000, "last_port": 8999}),
    ],
)
def test_a_body_may_name_the_ports_in_any_spelling_of_the_path_s(api: Api, path: str, ports: dict[str, int | None]):
    assert api.ask("PUT", path, ports).status_code == 201
    again = api.ask("PUT", path, ports)
    assert (again.status_code, again.headers["ETag"]) == (200, '"1"')
    assert api.ask("PATCH", path, {**ports, "name": "all"}).json()["name"] == "all"
    assert api.ask("PATCH", path, {"name": "web"}).json()["name"] == "web"
    problem_of(api.ask("PATCH", path, {**ports, "last_port": 9000}), 422)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/vips", {**WEB, "address": "203.0.113.99", "name": "other"}),
        ("PUT", VIP, {"forward": "ipip"}),
        ("PATCH", VIP, {"forward": "ipip"}),
        ("DELETE", VIP, None),
        ("POST", BACKENDS, {"address": "10.0.0.12"}),
        ("PUT", BACKENDS, {"backends": []}),
        ("PUT", f"{BACKENDS}/10.0.0.11", {"weight": 5}),
        ("PATCH", f"{BACKENDS}/10.0.0.11", {"weight": 5}),
        ("DELETE", f"{BACKENDS}/10.0.0.11", None),
        ("POST", f"{BACKENDS}/10.0.0.11/drain", {}),
        ("DELETE", f"{BACKENDS}/10.0.0.12/drain", None),
        ("PUT", f"{VIP}/health-check", {"type": "tcp"}),
        ("DELETE", "/v1/vips/mail/health-check", None),
    ],
)
def test_a_dry_run_says_what_would_change_and_changes_nothing(api: Api, method: str, path: str, body: object):
    api.add("/v1/vips", WEB)
    api.add(BACKENDS, {"address": "10.0.0.11"})
    api.ask("PUT", f"{BACKENDS}/10.0.0.12", {"admin_state": "drain"})
    api.add("/v1/vips", {"address": "203.0.113.11", "port": 25, "protocol": "tcp", "name": "mail"})
    api.ask("PUT", "/v1/vips/mail/health-check", {"type": "tcp"})
    if path == BACKENDS and method == "POST":
        body = {"address": "10.0.0.13"}
    before = api.everything()

    response = api.ask(method, path, body, params={"dry_run": "true"})

    assert response.status_code == 200, response.text
    assert response.json()["would_change"] is True
    assert response.json()["changes"]
    assert api.everything() == before


def test_a_dry_run_of_what_is_so_already_says_that(api: Api):
    api.add("/v1/vips", WEB)

    told = api.ask("POST", "/v1/vips?dry_run=true", WEB).json()
    assert {name: value for name, value in told.items() if name != "impact"} == {
        "would_change": False,
        "changed": False,
        "changes": [],
        "warnings": [],
    }
