# SPDX-License-Identifier: Apache-2.0
"""A web page of another site makes this API do nothing, whichever request it makes a browser send."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.api_harness import BACKENDS, DRAIN, WEB, Api, problem_of, running_api
from tests.contract.test_openapi import OPERATIONS

PATHS = {"{vip}": "203.0.113.10:443:tcp", "{address}": "10.0.0.11"}
JSON = {"Content-Type": "application/json"}
CAPTURE = "/v1/capture?seconds=0.05"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as api:
        api.add("/v1/vips", WEB)
        api.add(BACKENDS, {"address": "10.0.0.11"})
        del api.client.headers["Xdplb-Client"]
        yield api


def ask(api: Api, operation: str, **headers: str) -> Any:
    method, _, path = operation.partition(" ")
    for name, value in PATHS.items():
        path = path.replace(name, value)
    if path == "/v1/capture":
        path = CAPTURE
    return api.ask(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("operation", [*OPERATIONS, "GET /openapi.json", "HEAD /v1/capture", "OPTIONS /v1/vips"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "Cross-Site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
        {"Sec_Fetch_Site": "something-new"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://page.example"},
        {"Origin": "https://page.example"},
        {"Origin": "http://localhost:81"},
        {"Origin": "http://localhost.page.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
    ids=str,
)
def test_a_page_of_another_site_is_refused(api: Api, operation: str, headers: dict[str, str]) -> None:
    before, calls = api.generation(), list(api.plane.calls)
    answer = ask(api, operation, **headers, Content_Type="application/json")
    assert answer.status_code == 403
    if not operation.startswith("HEAD"):
        problem_of(answer, 403)
    assert api.generation() == before
    assert "start_capture" not in api.plane.calls[len(calls) :]


@pytest.mark.parametrize("operation", ["GET /v1/vips", "GET /v1/status", "GET /v1/capture"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "http://localhost"},
        {"Origin": "http://localhost:80"},
    ],
    ids=str,
)
def test_one_s_own_pages_and_whoever_is_no_browser_are_served(
    api: Api, operation: str, headers: dict[str, str]
) -> None:
    assert ask(api, operation, **headers, Content_Type="application/json").status_code == 200


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name.startswith("POST")] + ["GET /v1/capture"])
def test_what_acts_must_be_asked_for_in_a_way_no_form_can(api: Api, operation: str, kind: str | None) -> None:
    before = api.generation()
    problem = problem_of(ask(api, operation, **({} if kind is None else {"Content_Type": kind})), 415)
    assert "Content-Type: application/json or Xdplb-Client" in problem["detail"]
    assert api.generation() == before


@pytest.mark.parametrize("header", [{"Xdplb-Client": "curl"}, {"Content-Type": "application/json; charset=utf-8"}])
def test_a_header_is_enough(api: Api, header: dict[str, str]) -> None:
    assert api.ask("POST", f"{DRAIN}?dry_run=true", headers=header).status_code == 200
    assert api.ask("GET", CAPTURE, headers=header).status_code == 200


def test_the_docs_are_one_page_that_asks_no_other_host(api: Api) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = api.client.get("/docs", headers=link)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    page = answer.text
    assert not re.search(r"<(script|img|link|iframe|form|object|embed)\b", page)
    assert not re.search(r"(?:src|href)=\"(?!#|/openapi\.json)", page)
    assert not re.search(r"@import|url\(", page)
    for name in OPERATIONS.values():
        assert f'<details id="{name}">' in page
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))
    assert "<script>" not in page
    assert api.client.head("/docs").status_code == 200


def test_the_docs_are_not_for_the_frames_and_scripts_of_other_pages(api: Api) -> None:
    for mode, destination in (("navigate", "iframe"), ("no-cors", "script"), ("cors", "empty")):
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
        problem_of(api.client.get("/docs", headers=headers), 403)
