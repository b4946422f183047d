# SPDX-License-Identifier: Apache-2.0
"""Events by the API: pages, filters, and as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from xdplb.control.events import HealthChanged, PathTrouble

from .api_harness import BACKENDS, WEB, Api, problem_of, running_api

KEY = "203.0.113.10:443/tcp"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as running:
        running.add("/v1/vips", WEB)
        running.add(BACKENDS, {"address": "10.0.0.11", "weight": 1})
        running.ask("PATCH", f"{BACKENDS}/10.0.0.11", {"weight": 7})
        running.manager.events.say(HealthChanged(KEY, "10.0.0.12", "down", "connection refused"))
        running.manager.events.say(PathTrouble("10.0.0.9", "ipip", "no\nsuch \x1b[2J device"))
        yield running


def page(api: Api, query: str = "") -> Any:
    response = api.client.get(f"/v1/events{query}")
    assert response.status_code == 200, response.text
    return response.json()


def test_a_change_is_told_with_who_and_what_before_and_after(api: Api) -> None:
    changes = page(api, "?kind=change")["events"]
    assert [(one["data"]["edit"], one["vip"], one["backend"]) for one in changes] == [
        ("create_vip", KEY, None),
        ("create_backend", KEY, "10.0.0.11"),
        ("patch_backend", KEY, "10.0.0.11"),
    ]
    told = changes[-1]
    assert (told["level"], told["data"]["generation"]) == ("notice", 3)
    assert told["actor"]["kind"]
    assert told["data"]["changes"] == [
        {
            "kind": "backend_changed",
            "vip": KEY,
            "backend": "10.0.0.11",
            "before": {"weight": 1},
            "after": {"weight": 7},
        }
    ]
    assert told["data"]["impact"]["slots"]["moved"] == 0
    assert told["message"].startswith("change: actor=")


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("?kind=health", {"health"}),
        ("?kind=health&kind=path_trouble", {"health", "path_trouble"}),
        ("?level=warning", {"health", "path_trouble"}),
        ("?level=error", set()),
        (f"?vip={KEY}&level=warning", {"health"}),
        ("?vip=web&level=warning", {"health"}),
        ("?vip=203.0.113.99:443/tcp", set()),
        ("?backend=10.0.0.12", {"health"}),
        (f"?vip={KEY}&backend=10.0.0.12", {"health"}),
        ("?actor=nobody", set()),
        ("?since=1h&kind=health", {"health"}),
        ("?until=1h", set()),
    ],
)
def test_filters(api: Api, query: str, kinds: set[str]) -> None:
    assert {one["kind"] for one in page(api, query)["events"]} == kinds


def test_pages_lead_through_all_of_them_in_both_orders(api: Api) -> None:
    for order in ("asc", "desc"):
        found: list[int] = []
        cursor = ""
        while True:
            body = page(api, f"?limit=2&order={order}{cursor}")
            found += [one["id"] for one in body["events"]]
            if body["next"] is None:
                break
            cursor = f"&cursor={body['next']}"
        everything = [one["id"] for one in page(api, f"?limit=1000&order={order}")["events"]]
        assert found == everything
        assert found == sorted(found, reverse=order == "desc")
        assert len(found) == len(set(found)) >= 5


def test_what_comes_after_the_latest_is_nothing_yet(api: Api) -> None:
    latest = page(api)["latest"]
    body = page(api, f"?cursor={latest}")
    assert (body["events"], body["next"], body["missed"]) == ([], None, False)


def test_words_from_outside_cannot_leave_their_place(api: Api) -> None:
    text = api.client.get("/v1/events?kind=path_trouble").text
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["events"][0]["data"]["reason"] == "no\nsuch \x1b[2J device"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?kind=helth", "/query/kind"),
        ("?level=loud", "/query/level"),
        ("?since=yesterday-ish", "/query/since"),
        ("?until=2026-02-31", "/query/until"),
        ("?since=1h&until=2h", "/query/until"),
        ("?vip=10.0.0.1:0x50/tcp", "/query/vip"),
        ("?backend=10.0.0.300", "/query/backend"),
        ("?cursor=-1", "/query/cursor"),
        ("?cursor=00", "/query/cursor"),
        ("?limit=0", "/query/limit"),
        ("?limit=1001", "/query/limit"),
        ("?order=up", "/query/order"),
        ("?vip=web&vip=web", "/query/vip"),
        ("?follow=true", "/query/follow"),
    ],
)
def test_what_is_wrong_is_named(api: Api, query: str, pointer: str) -> None:
    response = api.client.get(f"/v1/events{query}")
    assert response.status_code in {404, 422}
    assert [error["pointer"] for error in problem_of(response, response.status_code)["errors"]] == [pointer]


@pytest.mark.parametrize("query", ["?until=1h", "?order=asc", "?limit=5"])
def test_a_stream_has_no_end(api: Api, query: str) -> None:
    response = api.client.get(f"/v1/events{query}", headers={"Accept": "text/event-stream"})
    assert problem_of(response, 422)["errors"][0]["pointer"] == f"/query/{query[1:].partition('=')[0]}"


@pytest.mark.parametrize("given", ["x", "-1", "007", "1" * 40])
def test_a_last_event_id_that_was_never_given_is_refused(api: Api, given: str) -> None:
    response = api.client.get("/v1/events", headers={"Accept": "text/event-stream", "Last-Event-ID": given})
    assert problem_of(response, 422)["errors"][0]["pointer"] == "/header/Last-Event-ID"


def test_head_of_a_stream_ends(api: Api) -> None:
    response = api.client.head("/v1/events", headers={"Accept": "text/event-stream"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"].startswith("text/event-stream")
