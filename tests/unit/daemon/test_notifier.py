# SPDX-License-Identifier: Apache-2.0
"""What becomes of events that come faster than a command or a webhook takes them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.waiting import until
from xdplb.control.answers.views import NotifyView
from xdplb.control.events import Event, HealthChanged, NotifyFailing, NotifyWorks
from xdplb.daemon import notifier as module
from xdplb.daemon.notifier import Notifier
from xdplb.daemon.notify_file import Target
from xdplb.daemon.webhook import post

MOST_WAITING = 1000


def flip(number: int) -> Event:
    return HealthChanged("203.0.113.10:80/tcp", "10.0.0.1", "down", str(number))


class Hook(ThreadingHTTPServer):
    """A webhook that answers nothing before `answers` is set."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.answers, self.got = threading.Event(), list[str]()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def target(self) -> Target:
        return Target(url=f"http://127.0.0.1:{self.server_address[1]}/", timeout_seconds=300)


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.answers.wait()
        self.server.got.append(body["data"]["reason"])
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def webhook() -> Iterator[Hook]:
    with Hook() as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        try:
            yield hook
        finally:
            hook.answers.set()
            hook.shutdown()


@contextmanager
def notifier(said: list[Event], *targets: Target) -> Iterator[Notifier]:
    made = Notifier(Path("none.toml"), targets, node="lb1", commands=None, say=said.append)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def counts(made: Notifier, number: int = 0) -> NotifyView:
    return made.view()[number]


def test_the_oldest_are_dropped_and_the_newest_arrive_in_order() -> None:
    said: list[Event] = []
    with webhook() as hook, notifier(said, hook.target) as made:
        made.take(flip(0))
        until(lambda: counts(made).waiting == 1)  # it is being handed on
        for number in range(1, 1501):
            made.take(flip(number))
        until(lambda: counts(made).dropped == 500)
        assert counts(made).waiting == MOST_WAITING + 1
        hook.answers.set()
        until(lambda: counts(made).sent == MOST_WAITING + 1)
        assert hook.got == ["0", *map(str, range(501, 1501))]
        until(lambda: len(said) == 2)
    failing, works = said
    assert isinstance(failing, NotifyFailing)
    assert "1000 wait, and older ones are dropped" in failing.error
    assert isinstance(works, NotifyWorks)
    assert works.dropped == 500


def test_one_that_hangs_keeps_only_itself_waiting() -> None:
    with webhook() as hangs, webhook() as works, notifier([], hangs.target, works.target) as made:
        works.answers.set()
        for number in range(300):
            made.take(flip(number))
        until(lambda: len(works.got) == 300)
        assert works.got == list(map(str, range(300)))
        assert (counts(made).sent, counts(made).waiting, counts(made).dropped) == (0, 300, 0)


def test_what_comes_too_fast_to_look_at_is_counted_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_TAKEN", 100)
    said: list[Event] = []
    with webhook() as one, webhook() as other, notifier(said, one.target, other.target) as made:
        made._is_awake = True  # its thread does not look yet, as while another one has the processor
        for number in range(250):
            made.take(flip(number))
        made._is_awake = False
        one.answers.set()
        other.answers.set()
        made.take(flip(250))  # nor is there room for this one, and nothing wakes the thread
        assert [each.dropped for each in made.view()] == [0, 0]
        made._in_loop(made._loop, made._sort)  # type: ignore[arg-type]
        until(lambda: [each.sent for each in made.view()] == [100, 100])
        assert [each.dropped for each in made.view()] == [151, 151]
        assert one.got == other.got == list(map(str, range(100)))
    assert [event.error for event in said if isinstance(event, NotifyFailing)] == [
        "151 events came too fast to look at"
    ] * 2


def test_an_event_that_a_webhook_never_takes_is_given_up_for_those_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEEP_SECONDS", 0.0)
    with socket.socket() as refuses:  # bound and not listening
        refuses.bind(("127.0.0.1", 0))
        target = Target(url=f"http://127.0.0.1:{refuses.getsockname()[1]}/")
        said: list[Event] = []
        with notifier(said, target) as made:
            for number in range(3):
                made.take(flip(number))
            until(lambda: counts(made).dropped == 3)
            assert (counts(made).sent, counts(made).failed, counts(made).waiting) == (0, 3, 0)
    assert [event.error for event in said if isinstance(event, NotifyFailing)] == ["Connection refused"]


def test_why_a_webhook_cannot_be_reached_is_said_in_words() -> None:
    assert post("http://no-such-host.invalid/", {}, b"{}", 10).error.startswith("its name cannot be looked up: ")
