# SPDX-License-Identifier: Apache-2.0
"""Reloads one after the other: however often they are asked for meanwhile, one more is enough."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from tests.fakes import until
from xdplb.daemon.reloads import Reloads


class _Owner:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = 0
        self.under_way = 0

    async def reload(self, _manager: object, _actor: object = None) -> None:
        self.begun += 1
        self.under_way += 1
        assert self.under_way == 1
        await self.go_on.wait()
        self.under_way -= 1


def test_a_storm_of_signals_is_two_reloads_and_the_end_waits_for_the_one_under_way() -> None:
    async def scenario() -> None:
        owner = _Owner()
        manager: Any = SimpleNamespace(reload=None, peers=None, events=SimpleNamespace(say=None))
        doors: Any = SimpleNamespace(reload=lambda _say: None)
        reloads = Reloads(manager, cast("Any", owner), doors)
        reloads.begin()
        await until(lambda: owner.begun == 1)
        for _ in range(1000):
            reloads.begin()
        owner.go_on.set()
        await until(lambda: owner.begun == 2 and not owner.under_way)
        await asyncio.sleep(0.01)
        assert owner.begun == 2
        owner.go_on.clear()
        reloads.begin()
        reloads.begin()
        await until(lambda: owner.begun == 3)
        reloads.begin()
        asyncio.get_running_loop().call_later(0.01, owner.go_on.set)
        await reloads.stop()
        assert (owner.begun, owner.under_way) == (3, 0)

    asyncio.run(scenario())
