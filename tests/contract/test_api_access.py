# SPDX-License-Identifier: Apache-2.0
"""The access list of a VIP: whole, by halves, long, and never half set."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.api_harness import ACCESS, VIP, WEB, Api, problem_of, running_api
from xdplb.model.access import AccessList

DENY = {"deny": ["192.0.2.0/24", "198.51.100.7"]}
SHOWN = {"allow": [], "deny": ["192.0.2.0/24", "198.51.100.7/32"]}
EMPTY: dict[str, list[str]] = {"allow": [], "deny": []}


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as api:
        api.add("/v1/vips", WEB)
        yield api


def test_a_list_is_set_shown_and_taken_away_with_the_etag_of_the_vip(api: Api):
    assert api.ask("GET", ACCESS).json() == EMPTY
    answer = api.ask("PUT", ACCESS, DENY)
    assert (answer.status_code, answer.json()) == (200, SHOWN)
    assert api.ask("GET", ACCESS).headers["etag"] == answer.headers["etag"] == api.ask("GET", VIP).headers["etag"]
    assert api.ask("GET", VIP).json()["status"]["access"] == {"allow": 0, "deny": 2}
    assert api.ask("DELETE", ACCESS).status_code == 204
    assert api.ask("GET", ACCESS).json() == EMPTY
    assert api.ask("DELETE", ACCESS).status_code == 204


def test_the_same_list_changes_nothing(api: Api):
    tag = api.ask("PUT", ACCESS, DENY).headers["etag"]
    assert api.ask("PUT", ACCESS, {"deny": ["198.51.100.7/32", "192.0.2.0/24"]}).headers["etag"] == tag


def test_a_patch_replaces_one_half(api: Api):
    api.ask("PUT", ACCESS, DENY)
    assert api.ask("PATCH", ACCESS, {"allow": ["10.0.0.0/8"]}).json() == {**SHOWN, "allow": ["10.0.0.0/8"]}
    assert api.ask("PATCH", ACCESS, {"deny": None}).json() == {"allow": ["10.0.0.0/8"], "deny": []}
    assert api.ask("PATCH", ACCESS, {}).json() == {"allow": ["10.0.0.0/8"], "deny": []}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_stale_etag_and_a_dry_run_change_nothing(api: Api, method: str):
    api.ask("PUT", ACCESS, DENY)
    body = None if method == "DELETE" else {"deny": ["203.0.113.0/24"]}
    problem_of(api.ask(method, ACCESS, body, headers={"If-Match": '"0"'}), 412)
    foretold = api.ask(method, f"{ACCESS}?dry_run=true", body).json()
    assert foretold["would_change"]
    assert any("VIP 203.0.113.10:443/tcp" in sentence for sentence in foretold["changes"])
    assert api.ask("GET", ACCESS).json() == SHOWN


def test_there_is_none_without_a_vip(api: Api):
    for method, body in (("GET", None), ("PUT", DENY), ("PATCH", DENY), ("DELETE", None)):
        problem_of(api.ask(method, "/v1/vips/nosuch/access", body), 404)


def test_a_long_list_is_taken_while_others_are_answered(api: Api, monkeypatch: pytest.MonkeyPatch):
    parse, begun, others_answered = AccessList.parse, threading.Event(), threading.Event()

    def slowly(allow: Sequence[str], deny: Sequence[str], family: int) -> AccessList:
        begun.set()
        assert others_answered.wait(60)
        return parse(allow, deny, family)

    monkeypatch.setattr(AccessList, "parse", slowly)
    prefixes = [f"{10 + n // 65536}.{n // 256 % 256}.{n % 256}.0/24" for n in range(300_000)]
    body = json.dumps({"deny": prefixes})
    assert len(body) < 8 << 20
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(
            api.client.request, "PUT", ACCESS, content=body, headers={"content-type": "application/json"}
        )
        assert begun.wait(60)
        assert api.ask("GET", "/healthz").status_code == 200
        others_answered.set()
        assert long.result().json()["deny"][:2] == ["10.0.0.0/24", "10.0.1.0/24"]
    assert api.ask("GET", VIP).json()["status"]["access"]["deny"] == 300_000


def test_it_may_be_longer_than_other_bodies(api: Api):
    body = json.dumps({"deny": [" " * (9 << 20)]})
    problem = problem_of(api.client.put(ACCESS, content=body, headers={"content-type": "application/json"}), 422)
    assert problem["errors"][0]["pointer"] == "/deny/0"
    problem_of(api.client.put(VIP, content=body, headers={"content-type": "application/json"}), 413)
