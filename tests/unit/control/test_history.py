# SPDX-License-Identifier: Apache-2.0
"""Events are kept: within bounds, across restarts, and whatever happens to their file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from xdplb.control.edits.edit import DeleteVip
from xdplb.control.events import (
    DAEMON,
    Actor,
    ActorKind,
    ChangeMade,
    DaemonStarted,
    DaemonStopped,
    Event,
    Events,
    EventsKeptAgain,
    EventsLost,
    EventsNotKept,
    HealthChanged,
    NextHopChanged,
    PathErrorsUnheard,
    TokenRemoved,
)
from xdplb.control.history import history as module
from xdplb.control.history.file import HistoryFile
from xdplb.control.history.history import History, Retention
from xdplb.control.history.wanted import Page, Wanted
from xdplb.model.errors import PlatformError
from xdplb.model.role import Role
from xdplb.model.vip import VipKey

KEY = VipKey.parse("203.0.113.10:443/tcp")


def down(number: int) -> HealthChanged:
    return HealthChanged(str(KEY), f"10.0.0.{number}", "down", "connection refused")


def change(generation: int) -> ChangeMade:
    return ChangeMade(DAEMON, generation, "delete_vip", str(KEY), None, DeleteVip(KEY), at=time.time_ns())


@contextmanager
def kept_in(
    path: Path | None,
    retention: Retention = Retention(),  # noqa: B008
    unkept: tuple[str, ...] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[History]:
    """A history over a file, started and stopped."""
    history = History(path, Events(), retention, now=now)
    history.start(unkept)
    try:
        yield history
    finally:
        history.stop()


def read(history: History, **wanted: Any) -> Page:
    async def ask() -> Page:
        return await history.read(Wanted(**{"limit": 1000, **wanted}))

    return asyncio.run(ask())


def bodies(history: History, **wanted: Any) -> list[Any]:
    return [json.loads(found.body) for found in read(history, **wanted).events]


def test_what_was_said_is_found_at_once_and_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with kept_in(path) as history:
        for number in range(3):
            history.events.say(down(number))
        before = read(history).events
        assert [json.loads(each.body)["backend"] for each in before] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    with kept_in(path) as history:
        history.events.say(down(3))
        after = read(history).events
        assert after[:3] == before
        assert after[3].id > before[2].id
        assert [each.id for each in read(history, after=before[1].id).events] == [before[2].id, after[3].id]


def test_ids_grow_also_if_the_file_is_lost_while_the_daemon_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with kept_in(path) as history:
        history.events.say(down(1))
        last = read(history).events[-1].id
    for file in tmp_path.iterdir():
        file.unlink()
    time.sleep(0.002)
    with kept_in(path) as history:
        history.events.say(down(2))
        page = read(history, after=last)
        assert [json.loads(each.body)["backend"] for each in page.events] == ["10.0.0.2"]
        assert page.missed, "a reader is told that it may lack some"


def test_the_oldest_go_when_there_are_too_many_and_readers_are_told(tmp_path: Path) -> None:
    with kept_in(tmp_path / "events.db", Retention(rows=20)) as history:
        history.events.say(down(0))
        first = read(history).events[0].id
        for number in range(1, 100):
            history.events.say(down(number))
            if number % 10 == 0:
                read(history)
        read(history)
        page = read(history, after=first)
        assert len(page.events) <= 20
        assert page.missed
        assert json.loads(page.events[-1].body)["backend"] == "10.0.0.99"
        assert not read(history, after=page.events[0].id).missed
        assert history.kept.rows == len(read(history).events)


def test_what_flaps_all_night_does_not_push_out_who_changed_what(tmp_path: Path) -> None:
    with kept_in(tmp_path / "events.db", Retention(rows=100)) as history:
        for generation in range(1, 21):
            history.events.say(change(generation))
        for number in range(500):
            history.events.say(down(number % 250))
            if number % 50 == 0:
                read(history)
        read(history)
        found = bodies(history)
        assert len(found) <= 100
        generations = [each["data"]["generation"] for each in found if each["kind"] == "change"]
        assert generations == list(range(11, 21)), "a tenth of the room is for changes"
        assert found[-1]["backend"] == "10.0.0.249"


def test_old_ones_go_by_a_clock_that_nobody_sets(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with kept_in(path) as history:
        history.events.say(down(1))
    with kept_in(path, Retention(days=30), now=lambda: datetime.now(UTC) + timedelta(days=29)) as history:
        assert len(read(history).events) == 1
    with kept_in(path, Retention(days=30), now=lambda: datetime.now(UTC) + timedelta(days=31)) as history:
        history.events.say(down(2))
        read(history)
        assert bodies(history) == []


def test_the_event_of_a_change_is_kept_once_though_the_process_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    events = [change(1), change(2)]
    with kept_in(path) as history:
        told = [history.told(event).text() for event in events]
        history.events.say(events[0])
    with kept_in(path, unkept=tuple(told)) as history:
        assert [each["data"]["generation"] for each in bodies(history)] == [1, 2]
    with kept_in(path, unkept=tuple(told)) as history:
        assert [each["data"]["generation"] for each in bodies(history)] == [1, 2]


def test_what_is_on_the_disk_for_good_is_not_kept_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIDY_EVENTS", 1)
    with kept_in(tmp_path / "events.db") as history:
        history.events.say(change(7))
        read(history)
        read(history)
        assert history.kept_generation == 7
        assert history.told(change(8)).kept == 7


def found_at_last(history: History, those: set[str], **wanted: Any) -> list[Any]:
    """Return the events once they are of these kinds: the file may have to be opened again, more than once."""
    end = time.monotonic() + 10
    while True:
        with suppress(PlatformError):
            found = bodies(history, **wanted)
            if {each["kind"] for each in found} == those:
                return found
        assert time.monotonic() < end, history.kept
        time.sleep(0.05)


@pytest.mark.parametrize("removed", ["events.db", "the folder", "what is in it"])
def test_a_file_removed_while_the_daemon_runs_is_begun_again(
    tmp_path: Path, removed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.1)
    folder = tmp_path / "state"
    with kept_in(folder / "events.db") as history:
        history.events.say(down(1))
        last = read(history).latest
        for file in folder.iterdir():
            if removed == "what is in it":
                file.write_bytes(b"")
            else:
                file.unlink()
        if removed == "the folder":
            folder.rmdir()
        history.events.say(down(2))
        if removed == "what is in it":  # the thread may just have been writing to it
            end = time.monotonic() + 10
            while "10.0.0.2" not in {each["backend"] for each in bodies(history, after=last)}:
                assert time.monotonic() < end
        else:
            found = found_at_last(history, {EventsLost.KIND, "health"}, after=last)
            assert all(each["id"] > last for each in found)


def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"this is no database" * 1000)
    with kept_in(path) as history:
        history.events.say(down(1))
        assert [each["kind"] for each in bodies(history)] == [EventsLost.KIND, "health"]
    assert (tmp_path / "events.db.damaged").read_bytes().startswith(b"this is no database")


@pytest.mark.parametrize(
    "statements",
    ["CREATE TABLE event (x)", "CREATE TABLE event (x); PRAGMA user_version = 1", "PRAGMA user_version = 1"],
)
def test_a_file_with_other_tables_is_put_aside(tmp_path: Path, statements: str) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db")) as other:
        other.executescript(statements)
    with kept_in(tmp_path / "events.db") as history:
        history.events.say(down(1))
        assert [each["kind"] for each in bodies(history)] == [EventsLost.KIND, "health"]


def test_a_file_that_is_damaged_while_the_daemon_runs_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.1)
    path = tmp_path / "events.db"
    with kept_in(path) as history:
        for number in range(3000):
            history._take(down(number % 250))
        read(history)
        with path.open("r+b") as file:
            file.write(b"x" * 3_000_000)
        history.events.say(down(1))
        found_at_last(history, {EventsLost.KIND}, kinds=(EventsLost.KIND,))


def test_a_file_of_a_newer_version_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with kept_in(path) as history:
        assert [each["kind"] for each in bodies(history)] == [EventsLost.KIND]


def test_while_the_disk_is_full_events_wait_and_are_kept_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 50)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    full = [True]
    append = HistoryFile.append

    def limited(self: HistoryFile, records: Any) -> None:
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")
        append(self, records)

    monkeypatch.setattr(HistoryFile, "append", limited)
    with kept_in(tmp_path / "events.db") as history:
        said: list[Event] = []
        history.events.listen(said.append)
        for number in range(80):
            history.events.say(down(number))
            if number % 20 == 0:
                assert read(history).events == (), "what is kept can be read"
        assert read(history).events == ()
        assert [type(event) for event in said if not isinstance(event, HealthChanged)] == [EventsNotKept], "said once"
        assert "database or disk is full" in history.kept.error
        full[0] = False
        read(history)
        read(history)
        again = [event for event in said if isinstance(event, EventsKeptAgain)]
        assert len(again) == 1
        assert again[0].lost == history.kept.dropped > 0
        found = bodies(history)
        assert len(found) == 80 + 2 - history.kept.dropped
        assert history.kept.error == ""


def test_two_thousand_events_at_once_hold_nobody_up() -> None:
    with kept_in(None) as history:
        took = []
        for number in range(2000):
            began = time.thread_time()
            history._take(down(number % 250))
            took.append(time.thread_time() - began)
        assert sum(took) < 0.1
        assert len(read(history, limit=5000).events) == 2000
        assert history.kept.dropped == 0


def test_what_is_said_before_the_start_is_kept_and_after_the_stop_is_harmless() -> None:
    history = History(None, Events(), now=lambda: datetime.now(UTC))
    history.events.say(down(1))
    history.start()
    assert [each["kind"] for each in bodies(history)] == ["health"]
    history.stop()
    history.events.say(down(2))


def test_how_the_last_run_ended_is_known(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    started = DaemonStarted("1", 7, "eth0", "unix:/x", 0, "none")
    for says, last in (([started], "none"), ([started, DaemonStopped("stopped")], "killed"), ([], "stopped")):
        with kept_in(path) as history:
            assert history.last_run == last
            for event in says:
                history.events.say(event)


def test_who_follows_is_told_when_there_is_more() -> None:
    with kept_in(None) as history:
        more = threading.Event()
        end = history.follow(more.set)
        history.events.say(down(1))
        assert more.wait(5)
        end()
        more.clear()
        history.events.say(down(2))
        read(history)
        assert not more.is_set()


@pytest.mark.parametrize(
    ("actor", "found"),
    [("daemon", True), ("unix", False), ("daemo", False), ("kind=daemon", False)],
)
def test_who_did_it(actor: str, found: bool) -> None:
    with kept_in(None) as history:
        history.events.say(change(1))
        assert bool(read(history, actor=actor).events) is found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (
            (
                "2001:db8::1",
                "CN=anna",
                "O=ops",
                "CN=anna,O=ops",
                "certificate=CN=anna,O=ops",
                "admin",
                "[2001:db8::1]:4000",
            ),
            True,
        ),
        (("2001:db8::", "nna", "CN=ann", "4000"), False),
    ],
)
def test_who_came_by_ipv6_or_with_a_certificate_is_found(words: tuple[str, ...], found: bool) -> None:
    anna = Actor(ActorKind.TCP, certificate="CN=anna,O=ops", peer="[2001:db8::1]:4000", role=Role.ADMIN)
    with kept_in(None) as history:
        history.events.say(TokenRemoved(anna, "x"))
        for word in words:
            assert bool(bodies(history, actor=word)) is found, word


def test_a_next_hop_is_found_by_the_vips_that_have_the_backend() -> None:
    other = VipKey.parse("203.0.113.11:443/tcp")
    with kept_in(None) as history:
        history.events.say(NextHopChanged("10.0.0.1", None, None, "no route", (KEY, other)))
        for vip in (KEY, other):
            (found,) = bodies(history, vip=str(vip))
            assert (found["kind"], found["vip"], found["backend"]) == ("next_hop", None, "10.0.0.1")
            assert bodies(history, vip=str(vip), backend="10.0.0.1") == [found]
        assert bodies(history, vip="203.0.113.12:443/tcp") == []


def test_what_is_in_the_place_of_the_file_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "events.db").mkdir()
    with kept_in(tmp_path / "events.db") as history:
        history.events.say(down(1))
        with pytest.raises(PlatformError, match="cannot be read"):
            read(history)
        assert history.kept.error
    assert (tmp_path / "events.db").is_dir()


def test_a_long_event_is_cut_to_the_first_of_each_list() -> None:
    class Long(PathErrorsUnheard):
        def data(self) -> dict[str, object]:
            return {"error": "x", "tables": [{"moves": ["y" * 500] * 60} for _ in range(200)]}

    with kept_in(None) as history:
        history._take(Long("x"))
        (found,) = read(history).events
    data = json.loads(found.body)["data"]
    assert len(found.body) < 70_000
    assert (data["is_cut"], len(data["tables"]), len(data["tables"][0]["moves"])) == (True, 5, 5)


def test_an_event_that_cannot_be_written_down_is_lost_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(PathErrorsUnheard):
        def data(self) -> dict[str, object]:
            raise ValueError("a mistake")

    with kept_in(None) as history:
        history._take(Broken("x"))
        history.events.say(down(1))
        read(history)
        assert [each["kind"] for each in bodies(history)] == ["health", EventsKeptAgain.KIND]
    assert "an event of the kind path_errors_unheard could not be kept" in caplog.text
