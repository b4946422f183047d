# SPDX-License-Identifier: Apache-2.0
"""What the API says of the store that balancers share, and how it refuses changes while that is away."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.contract.api_harness import Api, problem_of, running_api
from xdplb.cluster.memory import MemoryRepository, MemoryStore

WEB = "/v1/vips/203.0.113.10:443:tcp"
BACKEND = f"{WEB}/backends/10.0.0.11"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def api(store: MemoryStore) -> Iterator[Api]:
    with running_api(repository=MemoryRepository(store, "lb1")) as api:
        api.add("/v1/vips", {"address": "203.0.113.10", "port": 443, "protocol": "tcp", "name": "web"})
        api.add(f"{WEB}/backends", {"address": "10.0.0.11"})
        yield api


def in_loop(api: Api, work: object, *given: object) -> None:
    """Do something to the store in its event loop."""

    async def there() -> None:
        work(*given)  # type: ignore[operator]

    assert api.client.portal is not None
    api.client.portal.call(there)


def stands(api: Api) -> dict[str, object]:
    store: dict[str, object] = api.ask("GET", "/v1/status").json()["store"]
    return store


def until_stands(api: Api, state: str) -> dict[str, object]:
    end = time.monotonic() + 60
    while (found := stands(api))["state"] != state:
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def test_the_status_says_where_the_store_is_and_what_it_has(api: Api, store: MemoryStore) -> None:
    found = until_stands(api, "up")
    assert found["place"] == "etcd://192.0.2.1:2379/xdplb"
    assert store.kept.head is not None
    assert (found["generation"], found["digest"]) == (2, store.kept.head["digest"])
    assert (found["pending"], found["refused"], found["reason"]) == ([], [], "")
    assert api.ask("GET", "/readyz").status_code == 200


def test_changes_are_refused_while_it_is_away_and_the_problem_says_what_works(api: Api, store: MemoryStore) -> None:
    in_loop(api, store.go_away, "nobody answers at 192.0.2.1:2379")
    for method, path, body in (
        ("POST", f"{WEB}/backends", {"address": "10.0.0.12"}),
        ("PATCH", WEB, {"name": "other"}),
        ("DELETE", WEB, None),
        ("PATCH", BACKEND, {"weight": 3, "role": "backup"}),
        ("PUT", "/v1/config", {"vips": []}),
    ):
        refused = api.ask(method, path, body)
        problem = problem_of(refused, 503)
        assert problem["type"] == "urn:xdplb:problem:store-away"
        assert "nobody answers at 192.0.2.1:2379" in problem["detail"]
        assert "drain" in problem["hint"]
        assert refused.headers["retry-after"] == "2"
    assert api.ask("GET", WEB).status_code == 200
    assert api.ask("GET", "/readyz").status_code == 200, "serving from the copy is ready"
    assert "xdplb_store_up 0" in api.ask("GET", "/metrics").text


def test_what_operators_do_meanwhile_is_shown_and_written_later(api: Api, store: MemoryStore) -> None:
    in_loop(api, store.go_away, "down")
    key = {"Idempotency-Key": "once"}
    first = api.ask("PATCH", BACKEND, {"weight": 7}, headers=key)
    again = api.ask("PATCH", BACKEND, {"weight": 7}, headers=key)
    assert (first.status_code, again.content) == (200, first.content)
    assert api.ask("POST", f"{BACKEND}/drain").status_code == 202
    assert api.ask("GET", BACKEND).json()["status"]["pending"] is True
    assert stands(api)["pending"] == [
        {
            "vip": "203.0.113.10:443/tcp",
            "address": "10.0.0.11",
            "weight": 7,
            "admin_state": "drain",
            "stored_weight": 1,
            "stored_admin_state": "ready",
        }
    ]
    assert "xdplb_store_pending_backends 1" in api.ask("GET", "/metrics").text
    etag = api.ask("GET", BACKEND).headers["etag"]
    in_loop(api, store.come_back)
    assert until_stands(api, "up")["pending"] == []
    shown = api.ask("GET", BACKEND)
    assert (shown.json()["weight"], shown.json()["status"]["pending"]) == (7, False)
    assert problem_of(api.ask("PATCH", BACKEND, {"weight": 1}, headers={"If-Match": etag}), 412)
    entry = store.kept.entries["backends/203.0.113.10:443:tcp/10.0.0.11"]
    assert (entry["weight"], entry["admin_state"]) == (7, "drain")


def test_a_dry_run_needs_no_store(api: Api, store: MemoryStore) -> None:
    in_loop(api, store.go_away, "down")
    answer = api.ask("POST", f"{WEB}/backends?dry_run=true", {"address": "10.0.0.12"})
    assert answer.status_code == 200
    assert store.commits == 2
