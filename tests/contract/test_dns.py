# SPDX-License-Identifier: Apache-2.0
"""Names in DNS by API and command, without a server that answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.api_harness import WEB, Api, problem_of, running_api

DNS = {"name": "www.example.test", "zone": "example.test", "server": "127.0.0.1:1", "key_file": "/none/dns.key"}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as one:
        one.add("/v1/vips", {**WEB, "dns": DNS})
        yield one


def _until_behind(api: Api) -> Any:
    end = time.monotonic() + 10
    while not (status := api.ask("GET", "/v1/vips/web").json()["status"]["dns"])["is_behind"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    return status


def test_a_vip_says_how_its_name_stands(api: Api) -> None:
    status = _until_behind(api)
    assert (status["published"], status["standing"]) == (False, None)
    assert status["reason"].startswith("the key file /none/dns.key cannot be read: No such file or directory")
    (drift,) = api.ask("GET", "/v1/status").json()["drift"]
    assert (drift["kind"], drift["what"]) == ("dns", "www.example.test")


def test_the_names_are_listed_also_if_they_could_not_be_read(api: Api) -> None:
    _until_behind(api)
    (name,) = api.ask("GET", "/v1/dns").json()["names"]
    (address,) = name.pop("addresses")
    assert name == {"name": "www.example.test", "zone": "example.test", "server": "127.0.0.1:1"}
    assert (address["present"], address["nodes"], address["status"]["is_behind"]) == (False, [], True)


def test_a_node_cannot_be_forgotten_by_itself_or_without_the_server(api: Api) -> None:
    _until_behind(api)
    this = api.ask("GET", "/v1/nodes").json()["nodes"][0]["name"]
    assert problem_of(api.ask("DELETE", f"/v1/dns/nodes/{this}"), 409)["hint"].startswith("xdplb node drain")
    assert "cannot be read" in problem_of(api.ask("DELETE", "/v1/dns/nodes/lb9"), 503)["detail"]


def test_without_a_name_nothing_is_there_and_nothing_to_forget(api: Api) -> None:
    api.ask("PATCH", "/v1/vips/web", {"dns": None})
    end = time.monotonic() + 10
    while api.ask("GET", "/v1/dns").json()["names"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert api.ask("GET", "/v1/vips/web").json()["status"]["dns"] is None
    assert json.loads(api.ask("DELETE", "/v1/dns/nodes/lb9").text) == {"released": []}
