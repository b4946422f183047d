# SPDX-License-Identifier: Apache-2.0
"""A change that is asked for again with the same Idempotency-Key is made once, and gets the same answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from typing import Any
from uuid import uuid4

import pytest

from xdplb.control.events import Actor, ActorKind
from xdplb_api import kept_answers
from xdplb_api.idempotency import Idempotency
from xdplb_api.kept_answers import KeptAnswer, KeptAnswers, Reused, Running

from .api_harness import BACKEND, BACKENDS, VIP, WEB, Api, problem_of, running_api


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as running:
        yield running


@pytest.fixture(autouse=True)
def clean(api: Api) -> Iterator[None]:
    yield
    api.ask("DELETE", VIP)


@pytest.fixture
def key() -> str:
    return f'"{uuid4()}"'


def keyed(api: Api, key: str, method: str, path: str, body: object = None, **headers: str) -> Any:
    return api.ask(method, path, body, headers={"Idempotency-Key": key, **headers})


def replayed(response: Any) -> bool:
    return response.headers.get("idempotency-replayed") == "true"


def test_a_repeated_post_gets_the_answer_of_the_first(api: Api, key: str) -> None:
    first = keyed(api, key, "POST", "/v1/vips", WEB)
    generation = api.generation()
    again = keyed(api, key, "POST", "/v1/vips", WEB)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (replayed(first), replayed(again)) == (False, True)
    assert again.content == first.content
    for name in ("etag", "location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert api.generation() == generation


def test_what_another_has_changed_since_stays(api: Api, key: str) -> None:
    api.add("/v1/vips", WEB)
    assert keyed(api, key, "PUT", BACKEND, {"weight": 3}).status_code == 201
    api.ask("PATCH", BACKEND, {"weight": 9})
    assert keyed(api, key, "PUT", BACKEND, {"weight": 3}).json()["weight"] == 3
    assert api.client.get(BACKEND).json()["weight"] == 9


def test_what_was_added_since_is_not_removed_again(api: Api, key: str) -> None:
    api.add("/v1/vips", WEB)
    assert keyed(api, key, "DELETE", VIP).status_code == 204
    api.add("/v1/vips", WEB)
    assert keyed(api, key, "DELETE", VIP).status_code == 204
    assert api.client.get(VIP).status_code == 200


def test_a_change_that_has_ended_its_own_precondition_is_no_412(api: Api, key: str) -> None:
    tag = api.ask("POST", "/v1/vips", WEB).headers["etag"]
    for _ in range(2):
        assert keyed(api, key, "PATCH", VIP, {"scheduler": "wlc"}, **{"If-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("POST", "/v1/vips", {**WEB, "name": "other"}, {}),
        ("PUT", VIP, WEB, {}),
        ("POST", "/v1/vips", WEB, {"If-Match": '"1"'}),
    ],
)
def test_the_same_key_for_something_else_is_422(
    api: Api, key: str, *, method: str, path: str, body: object, headers: dict[str, str]
) -> None:
    assert keyed(api, key, "POST", "/v1/vips", WEB).status_code == 201
    before = api.everything()
    problem = problem_of(keyed(api, key, method, path, body, **headers), 422)
    assert problem["type"] == "urn:xdplb:problem:key-reused"
    assert problem["errors"][0]["pointer"] == "/header/Idempotency-Key"
    assert api.everything() == before


def test_a_refused_request_may_be_put_right_under_its_key(api: Api, key: str) -> None:
    problem_of(keyed(api, key, "POST", "/v1/vips", {**WEB, "port": 70000}), 422)
    problem_of(keyed(api, key, "POST", BACKENDS, {"address": "10.0.0.11"}), 404)
    assert keyed(api, key, "POST", "/v1/vips", WEB).status_code == 201


def test_a_dry_run_has_no_use_for_a_key(api: Api, key: str) -> None:
    assert keyed(api, key, "POST", "/v1/vips?dry_run=true", WEB).json()["would_change"]
    assert keyed(api, key, "POST", "/v1/vips", WEB).status_code == 201
    assert not keyed(api, key, "POST", "/v1/vips?dry_run=true", WEB).json()["would_change"]


def test_a_question_has_no_use_for_one_either(api: Api, key: str) -> None:
    assert keyed(api, key, "GET", "/v1/vips").json() == {"vips": []}
    assert keyed(api, key, "POST", "/v1/vips", WEB).status_code == 201


def test_the_quotes_may_be_left_out(api: Api, key: str) -> None:
    assert not replayed(keyed(api, key.strip('"'), "POST", "/v1/vips", WEB))
    assert replayed(keyed(api, key, "POST", "/v1/vips", WEB))


@pytest.mark.parametrize("wrong", ["", '""', "two words", '"a', 'a"', '"a";p', "x" * 129, "tök", '"\\"'])
def test_what_is_no_key_is_refused_and_nothing_changes(api: Api, wrong: str) -> None:
    problem = problem_of(keyed(api, wrong.encode("latin-1"), "POST", "/v1/vips", WEB), 422)  # type: ignore[arg-type]
    assert problem["errors"][0]["pointer"] == "/header/Idempotency-Key"
    assert api.client.get("/v1/vips").json() == {"vips": []}


def test_two_keys_are_refused(api: Api) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Xdplb-Client", "tests")]
    response = api.client.post("/v1/vips", json=WEB, headers=headers)
    assert problem_of(response, 422)["errors"][0]["pointer"] == "/header/Idempotency-Key"


def asked(app: Any, *, path: str = "/v1/vips", peer: str = "192.0.2.1") -> Coroutine[Any, Any, tuple[int, bytes]]:
    """Return what sends a POST with a key to an application, and returns the status and the body."""
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"idempotency-key", b"k")],
        "state": {"peer": Actor(ActorKind.TCP, peer=f"{peer}:4000")},
    }  # fmt: skip
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        told.append(message)

    async def ask() -> tuple[int, bytes]:
        await app(scope, receive, send)
        return told[0]["status"], told[1]["body"]

    return ask()


class Slow:
    """An application that answers when it may, with how often it was asked."""

    def __init__(self) -> None:
        self.may, self.times = asyncio.Event(), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.times += 1
        await self.may.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done %d" % self.times})


def test_a_second_request_beside_the_first_is_409_and_gets_its_answer_afterwards() -> None:
    async def play() -> None:
        app = Slow()
        both = Idempotency(app, never=())
        first = asyncio.create_task(asked(both))
        await asyncio.sleep(0)
        status, body = await asked(both)
        assert (status, json.loads(body)["type"]) == (409, "urn:xdplb:problem:still-running")
        app.may.set()
        assert await first == await asked(both) == (200, b"done 1")
        assert app.times == 1

    asyncio.run(play())


def test_a_request_that_was_broken_off_may_be_sent_again() -> None:
    async def play() -> None:
        app = Slow()
        both = Idempotency(app, never=())
        first = asyncio.create_task(asked(both))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        app.may.set()
        assert await asked(both) == (200, b"done 2")

    asyncio.run(play())


def test_keys_of_different_clients_are_different_and_secrets_are_not_kept() -> None:
    async def play() -> None:
        app = Slow()
        app.may.set()
        both = Idempotency(app, never=("/v1/tokens",))
        assert await asked(both) == (200, b"done 1")
        assert await asked(both, peer="192.0.2.2") == (200, b"done 2")
        assert [(await asked(both, path="/v1/tokens"))[1] for _ in range(2)] == [b"done 3", b"done 4"]

    asyncio.run(play())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(size: int = 2) -> KeptAnswer:
    return KeptAnswer(200, (), b"x" * size)


def full(kept: KeptAnswers, whose: str, keys: range, size: int = 2) -> None:
    for key in keys:
        assert kept.begin(whose, str(key), b"f") is None
        kept.keep(whose, str(key), answer(size))


def test_an_answer_is_kept_for_an_hour() -> None:
    clock = Clock()
    kept = KeptAnswers(clock)
    full(kept, "a", range(1))
    clock.now = kept_answers.KEEP_SECONDS - 1
    assert kept.begin("a", "0", b"f") == answer()
    clock.now += 1
    assert kept.begin("a", "0", b"other") is None


def test_who_has_the_most_makes_room() -> None:
    kept = KeptAnswers()
    full(kept, "few", range(3))
    full(kept, "many", range(kept_answers.MOST_KEYS))
    assert all(kept.begin("few", str(key), b"f") for key in range(3))
    assert kept.begin("many", "3", b"f") == answer()
    assert kept.begin("many", "2", b"f") is None


def test_what_is_worked_on_makes_no_room() -> None:
    kept = KeptAnswers()
    assert kept.begin("a", "running", b"f") is None
    full(kept, "a", range(kept_answers.MOST_KEYS + 5))
    with pytest.raises(Running):
        kept.begin("a", "running", b"f")
    with pytest.raises(Reused):
        kept.begin("a", "running", b"g")


def test_large_answers_are_not_kept_and_all_together_are_bounded() -> None:
    kept = KeptAnswers()
    full(kept, "a", range(1), kept_answers.LARGEST_ANSWER + 1)
    assert kept.begin("a", "0", b"f") is None
    kept.forget("a", "0")
    full(kept, "a", range(1, 100), kept_answers.LARGEST_ANSWER)
    assert sum(kept.begin("a", str(key), b"f") is not None for key in range(92, 100)) == 4
    assert kept.begin("a", "50", b"f") is None


@pytest.mark.parametrize("query", ["dry_run=%C3%9A", "%F0%AD%BA%A1=1", "dry_run=true&x=%FF"])
def test_a_query_beyond_ascii_is_refused_and_no_failure(api: Api, key: str, query: str) -> None:
    problem_of(keyed(api, key, "POST", f"/v1/vips?{query}", WEB), 422)


def test_a_key_of_no_form_is_refused_in_a_dry_run_too(api: Api) -> None:
    problem_of(keyed(api, "a,b c", "POST", "/v1/vips?dry_run=true", WEB), 422)
