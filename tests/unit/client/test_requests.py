# SPDX-License-Identifier: Apache-2.0
"""What a client sends, what it makes of the answers, and what it sends again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from tests.scripted_daemon import Answer as Scripted
from tests.scripted_daemon import Script
from xdplb.client import (
    Answer,
    BusyError,
    CapacityError,
    Client,
    ConflictError,
    DaemonDownError,
    InvalidError,
    NotFoundError,
    NotReadyError,
    PlatformError,
    PreconditionError,
    StateError,
    StillRunningError,
    TimedOutError,
    UnauthenticatedError,
    XdplbError,
    transport,
)
from xdplb.client.daemon_state import DaemonState

VIP = "/v1/vips/web"
VIPS = "/v1/vips"


def ok(body: object = None) -> Scripted:
    return 200, {}, json.dumps(body).encode()


def problem(status: int, code: str) -> Scripted:
    body = {"type": f"urn:xdplb:problem:{code}", "status": status, "detail": "it is wrong", "hint": "make it right"}
    return status, {"Content-Type": "application/problem+json"}, json.dumps(body).encode()


def keys(script: Script) -> list[str | None]:
    return [headers.get("Idempotency-Key") for headers in script.headers]


def test_an_answer_has_its_body_its_generation_and_its_warnings(script: Script, client: Client) -> None:
    warning = [{"code": "no_backend", "detail": "it has no backend any more"}]
    headers = {"ETag": '"7"', "Xdplb-Warnings": json.dumps(warning)}
    script.raw("PATCH", VIP, (200, headers, b'{"name": "web"}'))
    answer = client.vips.patch("web", {"scheduler": "wlc"}, if_generation=6)
    assert (answer.json()["name"], answer.generation, answer.created) == ("web", 7, False)
    assert answer.warnings == ("it has no backend any more",)
    assert script.requests == [("PATCH", VIP, {"scheduler": "wlc"})]
    assert script.headers[0]["If-Match"] == '"6"'


def test_a_dry_run_is_asked_for_and_told(script: Script, client: Client) -> None:
    script.on("DELETE", f"{VIP}?dry_run=true", {"would_change": True, "changes": ["it goes"], "warnings": []})
    assert client.vips.delete("web", dry_run=True).dry_run()["changes"] == ["it goes"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "invalid", InvalidError),
        (400, "not-json", InvalidError),
        (404, "not-found", NotFoundError),
        (409, "conflict", ConflictError),
        (409, "capacity", CapacityError),
        (412, "precondition-failed", PreconditionError),
        (503, "platform", PlatformError),
        (503, "state", StateError),
        (503, "not-ready", NotReadyError),
        (500, "internal", XdplbError),
        (418, "a-later-version-has-it", XdplbError),
    ],
)
def test_each_kind_of_problem_has_its_exception(
    script: Script, client: Client, status: int, code: str, kind: type[XdplbError]
) -> None:
    script.raw("GET", VIPS, problem(status, code))
    with pytest.raises(XdplbError) as told:
        client.vips.list()
    assert type(told.value) is kind
    assert (told.value.detail, told.value.hint) == ("it is wrong", "make it right")
    assert len(script.requests) == 1


CHANGES: list[Callable[[Client], Answer[object]]] = [
    lambda client: client.vips.create({"address": "203.0.113.10", "port": 80, "protocol": "tcp"}),
    lambda client: client.vips.put("web", {}),
    lambda client: client.vips.patch("web", {}),
    lambda client: client.vips.delete("web"),
]


@pytest.mark.parametrize("ask", CHANGES)
def test_a_change_whose_answer_was_lost_is_asked_for_again_with_the_same_key(
    script: Script, client: Client, ask: Callable[[Client], Answer[object]]
) -> None:
    for method, path in (("POST", VIPS), ("PUT", VIP), ("PATCH", VIP), ("DELETE", VIP)):
        script.raw(method, path, None, None, ok({"name": "web"}))
    assert ask(client).status == 200
    first, *others = keys(script)
    assert first is not None
    assert others == [first, first]


def test_two_changes_have_different_keys(script: Script, client: Client) -> None:
    script.raw("DELETE", VIP, ok())
    client.vips.delete("web")
    client.vips.delete("web")
    assert len(set(keys(script))) == 2


def test_the_key_may_be_given(script: Script, client: Client) -> None:
    script.raw("DELETE", VIP, ok())
    client.vips.delete("web", key="ticket-4711")
    assert keys(script) == ['"ticket-4711"']


def test_a_question_is_asked_again_and_has_no_key(script: Script, client: Client) -> None:
    script.raw("GET", VIPS, None, ok({"vips": []}))
    assert client.vips.list().json()["vips"] == []
    assert keys(script) == [None, None]


def test_an_end_comes_when_the_connection_breaks_each_time(script: Script, client: Client) -> None:
    script.raw("GET", VIPS, None)
    with pytest.raises(DaemonDownError, match="closed the connection"):
        client.vips.list()
    assert len(script.requests) == 4


def test_nothing_is_repeated_if_that_is_not_wanted(script: Script) -> None:
    script.raw("GET", VIPS, None)
    with Client(socket_path=str(script.socket), retries=0) as client, pytest.raises(DaemonDownError):
        client.vips.list()
    assert len(script.requests) == 1


@pytest.mark.parametrize("code", ["busy", "too-many-connections"])
def test_a_busy_daemon_is_asked_again(script: Script, client: Client, code: str) -> None:
    script.raw("POST", f"{VIP}/backends/10.0.0.1/drain", problem(503, code), ok({}))
    assert client.backends.drain("web", "10.0.0.1").status == 200
    assert len(set(keys(script))) == 1


def test_a_busy_daemon_is_given_the_time_that_it_asks_for(script: Script, client: Client) -> None:
    status, headers, body = problem(503, "busy") or (0, {}, b"")
    script.raw("GET", VIPS, (status, {**headers, "Retry-After": "1"}, body), ok({"vips": []}))
    began = time.monotonic()
    client.vips.list()
    assert time.monotonic() - began >= 1


def test_nobody_waits_for_it_longer_than_the_timeout(script: Script) -> None:
    status, headers, body = problem(503, "busy") or (0, {}, b"")
    script.raw("GET", VIPS, (status, {**headers, "Retry-After": "60"}, body))
    with Client(socket_path=str(script.socket), timeout=1) as client, pytest.raises(BusyError):
        client.vips.list()


def test_a_daemon_that_stays_busy_says_so(script: Script, client: Client) -> None:
    script.raw("GET", VIPS, problem(503, "busy"))
    with pytest.raises(BusyError):
        client.vips.list()


def test_the_first_try_is_waited_for_if_it_is_still_worked_on(script: Script) -> None:
    running = problem(409, "still-running")
    script.raw("POST", VIPS, None, running, running, running, ok({}))
    with Client(socket_path=str(script.socket), retries=1) as client:
        assert client.vips.create({"address": "203.0.113.10", "port": 80, "protocol": "tcp"}).status == 200


def test_nobody_waits_longer_than_the_timeout_for_it(script: Script) -> None:
    script.raw("POST", VIPS, problem(409, "still-running"))
    with Client(socket_path=str(script.socket), timeout=0.3) as client, pytest.raises(StillRunningError):
        client.vips.create({"address": "203.0.113.10", "port": 80, "protocol": "tcp"})


def test_no_daemon_is_said_at_once(tmp_path) -> None:
    with Client(socket_path=str(tmp_path / "none")) as client, pytest.raises(DaemonDownError, match="not running"):
        client.status()


def test_an_answer_that_does_not_come_is_a_timeout_and_not_asked_for_again(script: Script, monkeypatch) -> None:
    monkeypatch.setattr(Script, "next", lambda *_: time.sleep(0.6))
    with Client(socket_path=str(script.socket), timeout=0.2) as client, pytest.raises(TimedOutError):
        client.vips.delete("web")
    assert len(script.requests) == 1


@pytest.mark.parametrize(("looks", "is_waited_for"), [("..w..w..w", True), ("ww...", False)])
def test_a_daemon_is_given_up_when_several_looks_in_a_row_do_not_see_it_at_work(
    script: Script, monkeypatch, looks: str, *, is_waited_for: bool
) -> None:
    # Between two programs that it compiles, it seems to do nothing.
    left, may_answer = list(looks), threading.Event()

    def look(_: str) -> DaemonState:
        seen = left.pop(0) if left else "."
        if not left:
            may_answer.set()
        return DaemonState("it is so", "", works=seen == "w")

    def answer(*_: object) -> Scripted:
        assert may_answer.wait(30)
        time.sleep(0.0 if is_waited_for else 1.0)
        return ok()

    monkeypatch.setattr(transport, "state_behind", look)
    monkeypatch.setattr(transport, "_LOOK_SECONDS", 0.5 if is_waited_for else 0.05)
    monkeypatch.setattr(transport, "_CHANGE", transport.Patience(0.1, 30.0))
    monkeypatch.setattr(Script, "next", answer)
    with Client(socket_path=str(script.socket)) as client:
        if is_waited_for:
            assert client.vips.delete("web").status == 200
        else:
            with pytest.raises(TimedOutError, match="it is so"):
                client.vips.delete("web")
    assert not left


def test_requests_share_a_connection(script: Script, client: Client) -> None:
    script.raw("GET", VIPS, ok({"vips": []}))
    for _ in range(3):
        client.vips.list()
    assert script.connections == 1


def test_a_connection_that_the_daemon_has_closed_meanwhile_is_no_error(script: Script) -> None:
    script.raw("GET", VIPS, (200, {"Connection": "close"}, b"{}"), ok({}))
    with Client(socket_path=str(script.socket), retries=0) as client:
        client.vips.list()
        client.vips.list()
    assert script.connections == 2


def test_a_name_or_an_address_that_is_none_is_refused_before_anything_is_sent(script: Script, client: Client) -> None:
    for wrong in (lambda: client.vips.get("1.2.3:4/tcp"), lambda: client.backends.delete("web", "10.0.0.1:80")):
        with pytest.raises(InvalidError):
            wrong()
    assert script.requests == []


def test_what_is_asked_of_explain_and_capture_is_in_the_query(script: Script, client: Client) -> None:
    script.on("GET", "/v1/explain?client=192.0.2.7%3A4000&vip=web&packet=syn", {"agree": True})
    script.raw("GET", "/v1/capture?vip=web&packets=3", (200, {}, b"pcapng"))
    assert client.explain("192.0.2.7:4000", "web", packet="syn").json()["agree"]
    with client.capture(vip="web", packets=3) as chunks:
        assert b"".join(chunks) == b"pcapng"


def test_a_capture_that_is_refused_is_an_error(script: Script, client: Client) -> None:
    script.raw("GET", "/v1/capture?", problem(409, "conflict"))
    with pytest.raises(ConflictError), client.capture():
        pass


def test_who_follows_events_waits_while_the_daemon_stops_or_cannot_read_them(script: Script, client: Client) -> None:
    def stream(number: int) -> Scripted:
        return 200, {"Content-Type": "text/event-stream"}, f'id: {number}\ndata: {{"id": {number}}}\n\n'.encode()

    script.raw("GET", "/v1/events?", stream(1), problem(503, "platform"), stream(2), problem(401, "unauthenticated"))
    told: list[str] = []
    following = client.events.follow(after=0, on_note=told.append)
    assert [next(following)["id"], next(following)["id"]] == [1, 2]
    assert [headers["Last-Event-ID"] for headers in script.headers] == ["0", "1", "1"]
    assert told == ["it is wrong: waiting until it is there again"]
    with pytest.raises(UnauthenticatedError):
        next(following)


def test_a_wrong_token_is_one_also_after_many(script: Script, client: Client) -> None:
    script.raw("GET", VIP, problem(429, "too-many-failures"))
    with pytest.raises(UnauthenticatedError):
        client.vips.get("web")
