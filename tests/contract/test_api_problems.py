# SPDX-License-Identifier: Apache-2.0
"""What is refused before any route, and what nobody expected, are problems as well."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.contract.api_harness import BACKENDS, VIP, WEB, Api, problem_of, running_api
from xdplb.model.errors import ConflictError, PlatformError


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as api:
        yield api


@pytest.mark.parametrize(
    "path", ["/dashboard/none.js", "/v1", "/v1/vip", "/v1/vips/", "/v2/vips", f"{VIP}/flows", "/v1/vips/a/b/c/d/e"]
)
def test_a_path_that_is_not_there(api: Api, path: str):
    problem = problem_of(api.ask("GET", path), 404)

    assert problem["type"] == "urn:xdplb:problem:no-such-path"
    assert path in problem["detail"]


def test_a_path_that_is_not_there_is_quoted(api: Api):
    for method, status in (("GET", 404), ("DELETE", 404)):
        assert "\n" not in problem_of(api.ask(method, "/v1/vip%0aFAKE"), status)["detail"]


def test_a_broken_host_header_breaks_nothing(api: Api):
    assert api.ask("GET", "/v1/vips", headers={"Host": "["}).status_code == 200
    problem_of(api.ask("GET", "/nowhere", headers={"Host": "["}), 404)
    problem_of(api.ask("DELETE", "/v1/vips", headers={"Host": "["}), 405)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/vips", "GET, HEAD, POST, OPTIONS"),
        ("POST", VIP, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("PATCH", BACKENDS, "GET, HEAD, POST, PUT, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("TRACE", "/v1/stats", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_path_has_not_is_answered_with_all_it_has(api: Api, method: str, path: str, allowed: str):
    response = api.ask(method, path)

    problem_of(response, 405)
    assert response.headers["allow"] == allowed


def test_what_the_kernel_refuses_is_said(api: Api, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: object) -> object:
        raise PlatformError("the kernel refused the map", hint="see dmesg")

    monkeypatch.setattr(type(api.manager.answers), "dataplane", refuse)

    problem = problem_of(api.ask("GET", "/v1/dataplane"), 503)
    assert (problem["detail"], problem["hint"]) == ("the kernel refused the map", "see dmesg")


def test_what_nobody_expected_is_logged_and_not_shown(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(_: object) -> object:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(type(api.manager.answers), "dataplane", fail)
    with caplog.at_level(logging.ERROR):
        response = api.ask("GET", "/v1/dataplane")

    problem_of(response, 500)
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    [record] = caplog.records
    assert "GET /v1/dataplane" in record.getMessage()
    assert "the secret inside" in caplog.text


def test_an_error_that_is_its_own_cause_is_answered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def change(_: object) -> NoReturn:
        error = ConflictError("it is in use")
        raise error from error

    monkeypatch.setattr(api.manager, "change", change)
    problem_of(api.ask("POST", "/v1/vips", WEB), 409)
