# SPDX-License-Identifier: Apache-2.0
"""Large answers are made once for all who ask at the same time, and are never older than the question."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from xdplb.control.answers.gathered import Gathered
from xdplb_api.shared import SharedAnswers


class Counting:
    """An application that counts how often it is asked. Each answer takes a moment."""

    def __init__(self) -> None:
        self.times = 0
        self.fails = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.times += 1
        number = self.times
        await asyncio.sleep(0.02)
        if self.fails:
            raise ValueError(number)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % number})


async def ask(app: Any, path: str = "/large", *, query: bytes = b"", length: bytes = b"0") -> int:
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"content-length", length)]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": headers}
    await app(scope, receive, send)
    return int(told[1]["body"])


def test_those_who_ask_while_an_answer_is_made_share_the_next_one():
    async def run() -> None:
        counting = Counting()
        app = SharedAnswers(counting, ["/large"])
        first = asyncio.create_task(ask(app))
        await asyncio.sleep(0.01)
        others = await asyncio.gather(*(ask(app) for _ in range(20)))
        assert (await first, set(others), counting.times) == (1, {2}, 2)

    asyncio.run(run())


@pytest.mark.parametrize("more", [{"query": b"a=1"}, {"length": b"2"}, {"path": "/small"}])
def test_what_may_get_another_answer_is_asked_by_itself(more: dict[str, Any]):
    async def run() -> None:
        counting = Counting()
        app = SharedAnswers(counting, ["/large"])
        assert sorted(await asyncio.gather(*(ask(app, **more) for _ in range(3)))) == [1, 2, 3]

    asyncio.run(run())


def test_a_failure_reaches_all_who_asked_and_nobody_after_them():
    async def run() -> None:
        counting = Counting()
        app = SharedAnswers(counting, ["/large"])
        counting.fails = True
        told = await asyncio.gather(ask(app), ask(app), return_exceptions=True)
        assert [type(one) for one in told] == [ValueError, ValueError]
        counting.fails = False
        assert await ask(app) == 2

    asyncio.run(run())


def test_it_rests_for_as_long_as_it_worked():
    async def run() -> None:
        times = []

        async def work() -> None:
            times.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.1)

        gathered = Gathered(work, rests=True)
        for _ in range(3):
            await gathered()
        pauses = [after - before for before, after in pairwise(times)]
        assert min(pauses) > 0.19

    asyncio.run(run())
