# SPDX-License-Identifier: Apache-2.0
"""HEAD is answered wherever GET is, as load balancers' and monitors' probes ask; OPTIONS says what there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .api_harness import BACKEND, BACKENDS, CHECK, VIP, WEB, Api, problem_of, running_api


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as running:
        running.add("/v1/vips", WEB)
        running.add(BACKENDS, {"address": "10.0.0.11"})
        running.ask("PUT", CHECK, {"type": "tcp"})
        yield running


def paths(api: Api) -> list[str]:
    """Return every path that the API documents a GET for, with something that exists in place of its parameters."""
    documented = api.client.get("/openapi.json").json()["paths"]
    named = {"{vip}": VIP.rpartition("/")[2], "{address}": BACKEND.rpartition("/")[2]}
    found = []
    for path, methods in documented.items():
        if "get" in methods and path not in {"/v1/capture", "/v1/explain"}:
            for name, value in named.items():
                path = path.replace(name, value)  # noqa: PLW2901
            found.append(path)
    return [*found, "/openapi.json", "/docs"]


def test_head_is_get_without_the_body_on_every_path(api: Api) -> None:
    assert {"/healthz", "/readyz", "/metrics", "/v1/status"} <= set(paths(api))
    for path in paths(api):
        got, head = api.client.get(path), api.client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path
        assert head.headers.get("etag") == got.headers.get("etag"), path


def test_head_of_what_is_not_there_is_as_get(api: Api) -> None:
    assert api.client.head("/v1/vips/none").status_code == 404
    assert api.client.head("/v1/nothing").status_code == 404
    assert api.client.head(f"{BACKEND}/drain").status_code == api.client.get(f"{BACKEND}/drain").status_code == 404
    assert api.client.head(f"{BACKEND}/probe").status_code == 405


def test_head_of_a_capture_starts_none(api: Api) -> None:
    response = api.client.head("/v1/capture")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-pcapng")
    assert "start_capture" not in api.plane.calls


def test_options_lists_the_methods_and_head_is_not_in_the_document(api: Api) -> None:
    response = api.client.options("/v1/vips")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    assert problem_of(api.client.patch("/v1/vips"), 405)["detail"] == "PATCH is not a method of /v1/vips"
    assert api.client.options("/v1/nothing").status_code == 404
    assert all("head" not in methods for methods in api.client.get("/openapi.json").json()["paths"].values())
