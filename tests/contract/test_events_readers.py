# SPDX-License-Identifier: Apache-2.0
"""Readers of the stream of events: how many there are, and what becomes of one that does not read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from xdplb.control.events import Events, StateWritable
from xdplb.control.history.history import History
from xdplb.control.history.wanted import Wanted
from xdplb_api import event_stream
from xdplb_api.connections import Connection
from xdplb_api.event_readers import EventReaders
from xdplb_api.event_stream import EventStream
from xdplb_api.limits import Limits


class FakeConnection:
    def __init__(self, client: str) -> None:
        self.client_name, self.cut, self.gone = client, False, asyncio.Event()

    def yields(self) -> None:
        self.cut = True
        self.gone.set()


def connection(client: str) -> Any:
    return cast("Connection", FakeConnection(client))


async def served(history: History, readers: EventReaders, reads: int, made: Any) -> list[Any]:
    """Return what a client is sent that stops reading after so many messages."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        if len(sent) >= reads:
            await asyncio.Event().wait()
        sent.append(message)

    async def receive() -> Any:
        await made.gone.wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "state": {"connection": made}}
    async with asyncio.timeout(10):
        await EventStream(history, readers, Wanted())(scope, receive, send)
    return sent


@pytest.mark.parametrize("reads", [1, 2, 3])
def test_a_reader_that_does_not_read_on_is_cut_off(reads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_UNREAD_SECONDS", 0.05)
    monkeypatch.setattr(event_stream, "_HEARTBEAT_SECONDS", 0.05)
    history = History(None, Events(), now=lambda: datetime.now(UTC))
    history.events.say(StateWritable())
    history.start()

    async def scenario() -> None:
        readers = EventReaders(1)
        made = connection("a")
        sent = await served(history, readers, reads, made)
        assert len(sent) == reads
        assert made.cut
        assert readers.number == 0

    try:
        asyncio.run(scenario())
    finally:
        history.stop()


def test_a_silent_time_is_filled_and_says_where_the_reader_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_UNREAD_SECONDS", 0.5)
    monkeypatch.setattr(event_stream, "_HEARTBEAT_SECONDS", 0.01)
    history = History(None, Events(), now=lambda: datetime.now(UTC))
    history.events.say(StateWritable())
    history.start()
    try:
        sent = asyncio.run(_scenario(history))
    finally:
        history.stop()
    texts = [message["body"].decode() for message in sent[1:]]
    assert texts[0] == "retry: 2000\n\n"
    last = texts[1].split("\n")[0]
    assert last.startswith("id: ")
    assert texts[2] == f": nothing new\n{last}\n\n"


async def _scenario(history: History) -> list[Any]:
    return await served(history, EventReaders(1), 4, connection("a"))


def test_no_client_takes_all_places() -> None:
    readers = EventReaders(4)
    hogs = [connection("hog") for _ in range(4)]
    places = [readers.place(one) for one in hogs]
    assert all(place.__enter__() for place in places)
    with readers.place(connection("hog")) as found:
        assert not found
    with readers.place(connection("other")) as found:
        assert found
        assert [one.cut for one in hogs] == [True, False, False, False]
        with readers.place(connection("third")) as third:
            assert third
        assert readers.number == 3
    for place in places:
        place.__exit__(None, None, None)
    assert readers.number == 0


@pytest.mark.parametrize(("connections", "readers"), [(256, 32), (20, 10), (1, 1)])
def test_half_of_the_connections_are_left_for_requests(connections: int, readers: int) -> None:
    assert Limits(connections=connections).readers == readers
