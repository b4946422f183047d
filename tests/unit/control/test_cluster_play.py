# SPDX-License-Identifier: Apache-2.0
"""Several balancers, cut off, killed and started at random, while the store loses its answers and its contents.

In the end all have the same, bit for bit, in their maps, too; and nothing that was acknowledged is lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.sharing import Node, Shared
from tests.unit.control.world import WEB
from xdplb.cluster.memory import MemoryRepository
from xdplb.cluster.repository import Away, Change, Seen, Version, Whole
from xdplb.model.backend import Backend
from xdplb.model.errors import StoreAwayError, StoreDoubtError, XdplbError
from xdplb.model.vip import Vip, VipKey

NAMES = ("lb1", "lb2", "lb3")


class KilledError(BaseException):
    """The process is no more."""


class Line(MemoryRepository):
    """A node's way to the store, which may be cut, lose an answer, or end with the process in the middle of a write."""

    def __init__(self, shared: Shared, name: str) -> None:
        super().__init__(shared.store, name)
        self._cut, self._joined = asyncio.Event(), asyncio.Event()
        self._joined.set()
        self.loses = ""
        """What goes wrong with the next write: `answer`, `before` or `after` (the process is killed)."""

    def cut(self) -> None:
        self._cut.set()
        self._joined.clear()

    def join(self) -> None:
        self._joined.set()
        self._cut.clear()

    async def read(self) -> Whole:
        self._require()
        return await super().read()

    async def commit(self, expected: Version, change: Change) -> Version:
        self._require()
        loses, self.loses = self.loses, ""
        if loses == "before":
            raise KilledError
        version = await super().commit(expected, change)
        if loses == "after":
            raise KilledError
        if loses == "answer":
            raise StoreDoubtError("the answer was lost")
        return version

    async def watch(self) -> AsyncGenerator[Seen]:
        while True:
            await self._joined.wait()
            stream, cut = self._store.watch(), asyncio.create_task(self._cut.wait())
            following: asyncio.Future[Seen] | None = None
            try:
                while True:
                    following = asyncio.ensure_future(anext(stream))
                    await asyncio.wait({following, cut}, return_when=asyncio.FIRST_COMPLETED)
                    if not following.done():
                        break
                    yield following.result()
            finally:
                cut.cancel()
                if following is not None and not following.done():
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
            yield Away("the line is cut")

    def _require(self) -> None:
        if self._cut.is_set():
            raise StoreAwayError("the line is cut")


class Play:
    """The balancers, and what was acknowledged."""

    def __init__(self, path: Path, seed: int) -> None:
        self.chance, self.shared = random.Random(seed), Shared(path)
        self.lines: dict[str, Line] = {}
        self.nodes: dict[str, tuple[Node, AsyncExitStack]] = {}
        self.acknowledged: set[tuple[VipKey, str]] = set()
        self.made = 0

    async def start(self, name: str) -> None:
        world = self.shared.world(name)

        def line() -> Line:
            self.lines[name] = Line(self.shared, name)
            return self.lines[name]

        world.repository = line
        stack = AsyncExitStack()
        self.nodes[name] = Node(world, await stack.enter_async_context(world.running())), stack

    async def stop(self, name: str) -> None:
        _, stack = self.nodes.pop(name)
        await stack.aclose()

    async def adds(self, name: str) -> None:
        """Add a backend that there was not yet, on one balancer."""
        self.made += 1
        backend = Backend(ip_address(f"10.1.{self.made >> 8}.{self.made & 255}"))
        door = self.nodes[name][0].door
        key = self.chance.choice([vip.vip.key for vip in door.vips()])
        try:
            await door.create_backend(str(key), backend)
        except XdplbError:
            return
        self.acknowledged.add((key, str(backend.address)))

    async def operates(self, name: str) -> None:
        """Change the weight of some backend, or drain it, which works alone, too."""
        node = self.nodes[name][0]
        of = [(vip.vip.key, address) for vip in node.snapshot.vips.values() for address in vip.backends]
        if not of:
            return
        key, address = self.chance.choice(sorted(of, key=str))
        with suppress(XdplbError):
            if self.chance.random() < 0.3:
                await node.door.drain(str(key), str(address))
            else:
                await node.door.patch_backend(str(key), str(address), {"weight": self.chance.randint(1, 99)})

    async def killed(self, name: str) -> None:
        """Kill a balancer in the middle of a write, before the store has it or after; then start it again."""
        self.lines[name].loses = self.chance.choice(["before", "after"])
        with suppress(KilledError):
            await self.adds(name)
        await self.stop(name)
        await self.start(name)

    async def emptied(self) -> None:
        """Empty the store while all have the same: else one with an older copy could be the first to write it back."""
        self._heal()
        await self.shared.agree(*(node for node, _ in self.nodes.values()))
        self.shared.store.empty()

    def _heal(self) -> None:
        self.shared.store.come_back()
        for line in self.lines.values():
            line.loses = ""
            line.join()

    async def step(self) -> None:
        name = self.chance.choice(NAMES)
        line = self.lines[name]
        happens: dict[str, tuple[int, Callable[[], object]]] = {
            "add": (10, lambda: self.adds(name)),
            "operate": (10, lambda: self.operates(name)),
            "both": (4, lambda: asyncio.gather(*(self.adds(each) for each in NAMES))),
            "cut": (3, line.cut),
            "join": (4, line.join),
            "doubt": (2, lambda: setattr(line, "loses", "answer")),
            "kill": (2, lambda: self.killed(name)),
            "empty": (1, self.emptied),
            "away": (1, lambda: self.shared.store.go_away("down")),
            "back": (3, self.shared.store.come_back),
        }
        weights = [weight for weight, _ in happens.values()]
        _, work = self.chance.choices(list(happens.values()), weights)[0]
        done = work()
        if asyncio.iscoroutine(done) or asyncio.isfuture(done):
            await done
        await asyncio.sleep(self.chance.choice([0, 0, 0.002, 0.01]))

    async def run(self, steps: int) -> None:
        for name in NAMES:
            await self.start(name)
        first = self.nodes["lb1"][0].door
        await first.create_vip(WEB)
        await first.create_vip(Vip(VipKey.parse("203.0.113.11:53/udp"), name="dns"))
        await self.shared.agree(*(node for node, _ in self.nodes.values()))
        for _ in range(steps):
            await self.step()
        self._heal()
        nodes = [node for node, _ in self.nodes.values()]
        await self.shared.agree(*nodes)
        snapshots = [node.snapshot for node in nodes]
        assert all(each.generations == snapshots[0].generations for each in snapshots)
        there = {(key, str(address)) for key, vip in snapshots[0].vips.items() for address in vip.backends}
        assert self.acknowledged <= there
        assert len(there) <= self.made
        shown = [
            {
                (view.vip.key, each.backend)
                for view in node.door.vips()
                for each in node.door.backends(str(view.vip.key))
            }
            for node in nodes
        ]
        assert shown[0] == shown[1] == shown[2]
        for node in nodes:
            await until(lambda node=node: node.door.status().last_error == "")  # type: ignore[misc]
            assert node.world.plane.read_backends().keys() == {each.id for _, each in node.snapshot.backends()}
        for name in list(self.nodes):
            await self.stop(name)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_all_come_together_and_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    asyncio.run(Play(tmp_path, seed).run(40))
