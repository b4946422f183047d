# SPDX-License-Identifier: Apache-2.0
"""A daemon that nobody asks anything rests: how often its loops wake up. And what is equal costs nothing."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from tests.unit.control.test_costs import backend, key
from tests.unit.control.world import World
from xdplb.control.edits import edit as edits
from xdplb.control.edits.edit import Batch, Edit, PutConfig
from xdplb.control.manager import Manager
from xdplb.control.state.sqlite import SqliteStore
from xdplb.control.writing.request import Request
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import XdplbError
from xdplb.model.vip import Vip
from xdplb_api.limits import Limits
from xdplb_api.schemas.config import Config, ConfigVip
from xdplb_api.server import Service, Stop, serve

SECONDS = 1.0
MOST = 60
"""Some 15 jobs a second, each a few turns of the loop: given to a thread, done, taken."""


class CountingSelector(selectors.DefaultSelector):
    """Counts the turns of a loop."""

    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        return super().select(timeout)


def turns_of(work: Callable[[CountingSelector], Coroutine[None, None, int]]) -> int:
    """Return what `work` returns, run in a loop that counts."""
    selector = CountingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        return runner.run(work(selector))


def test_the_control_loop_wakes_up_as_rarely_with_many_vips(tmp_path: Path):
    async def rest(selector: CountingSelector) -> int:
        world = World(tmp_path, Capacity(vips=512, backends=512))
        manager = Manager(world.plane, SqliteStore(tmp_path), world.hops, world.health)
        await manager.start()
        try:
            made: list[Edit] = [edits.CreateVip(Vip(key(number))) for number in range(200)]
            await manager.change(Request(edit=Batch(tuple(made))))  # type: ignore[arg-type]
            await asyncio.sleep(0.3)
            before = selector.turns
            await asyncio.sleep(SECONDS)
            return selector.turns - before
        finally:
            await manager.stop()

    assert turns_of(rest) < MOST * SECONDS


def test_an_api_that_nobody_asks_wakes_up_once_a_second_and_ends_at_once():
    async def rest(selector: CountingSelector) -> int:
        async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
            raise AssertionError

        stop, started = Stop(), asyncio.Event()
        serving = asyncio.create_task(serve([Service(nothing, [], Limits())], stop=stop, on_started=started.set))
        await started.wait()
        await asyncio.sleep(0.05)
        before = selector.turns
        await asyncio.sleep(SECONDS)
        turns = selector.turns - before
        ending = threading.Thread(target=stop)
        ending.start()
        await asyncio.wait_for(serving, 5)
        ending.join()
        return turns

    assert turns_of(rest) <= 6


def declared(vips: int, weights: Mapping[tuple[int, int], int]) -> Config:
    """Return the body that declares these VIPs, of 8 backends each."""
    return Config.model_validate(
        {
            "vips": [
                {
                    "address": str(key(number).address),
                    "port": 80,
                    "protocol": "tcp",
                    "backends": [
                        {"address": str(backend(each).address), "weight": weights.get((number, each), 1)}
                        for each in range(8)
                    ],
                }
                for number in range(vips)
            ]
        }
    )


@pytest.mark.parametrize(("weights", "touched"), [({}, 0), ({(7, 3): 5}, 1), ({(7, 3): 5, (7, 4): 2, (30, 0): 9}, 2)])
def test_an_apply_checks_and_touches_only_vips_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[tuple[int, int], int], touched: int
):
    checked = []
    of_body = ConfigVip._vip

    def noted(self: ConfigVip, pointer: str, faults: list[XdplbError]) -> Vip | None:
        checked.append(pointer)
        return of_body(self, pointer, faults)

    async def apply() -> list[str]:
        async with World(tmp_path, Capacity(vips=512, backends=4096), scans=False).running() as door:
            plane = door.manager._writer.applier._plane
            assert isinstance(plane, FakePlane)
            first = declared(40, {})
            wanted = first.wanted()
            await door.manager.change(Request(edit=PutConfig(wanted)))
            first.accepted(wanted)
            plane.calls.clear()
            monkeypatch.setattr(ConfigVip, "_vip", noted)
            await door.manager.change(Request(edit=PutConfig(declared(40, weights).wanted())))
            return [call for call in plane.calls if call == "write_table"]

    assert len(asyncio.run(apply())) == touched
    assert len(checked) == touched
