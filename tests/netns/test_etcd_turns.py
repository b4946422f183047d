# SPDX-License-Identifier: Apache-2.0
"""Balancers that are asked for changes at the same time: a slow one gets its turn, and a dead one holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.real_etcd import Etcd, running_etcd
from tests.stopwatch import Stopwatch
from tests.stores import ANYBODY, address_in, opened
from xdplb.cluster.repository import Change, Repository, Version
from xdplb.etcd.gateway import Gateway
from xdplb.etcd.keys import Answer, Keys
from xdplb.etcd.layout import Layout
from xdplb.etcd.writing import Writer
from xdplb.model.errors import HeadMovedError
from xdplb.model.store_address import StoreAddress

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running_etcd() as etcd:
        yield etcd


async def change(repository: Repository, known: Version | None, pause: float) -> tuple[Version, int]:
    """Make a change, `pause` seconds after each look at what is there; return how often others were first."""
    lost = 0
    while True:
        version = known or (await repository.read()).version
        known = None
        await asyncio.sleep(pause)
        try:
            return await repository.commit(version, Change({"generation": version.revision + 1})), lost
        except HeadMovedError:
            lost += 1
            assert lost < 10, "it never has its turn"


def test_who_is_slow_gets_his_turn_beside_one_that_never_rests(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with opened(address, "fast") as fast, opened(address, "slow") as slow:
            made = 0

            async def never_rests() -> None:
                nonlocal made
                version = None
                while True:
                    version, _ = await change(fast, version, 0.0)
                    made += 1

            task = asyncio.create_task(never_rests())
            try:
                for _ in range(3):
                    _, lost = await change(slow, None, 0.1)
                    assert lost <= 4
                before = made
                await asyncio.sleep(0.5)
                assert made > before
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    etcd.run(test)


def test_who_has_the_turn_and_dies_holds_up_the_others_for_a_moment(etcd):
    async def test() -> None:
        address = address_in(etcd)
        await asyncio.to_thread(etcd.etcdctl, "put", f"{address.prefix}/v1/turn", '{"node":"dead"}')
        async with opened(address, "lb1") as one, opened(address, "lb2") as two:
            watch = Stopwatch()
            version, _ = await change(one, None, 0.0)
            assert watch.seconds > 1.9
            assert watch.unhindered < 5
            watch = Stopwatch()
            await change(two, version, 0.0)
            assert watch.unhindered < 1

    etcd.run(test)


class Meeting(Keys):
    """Removes what is staged just before a head is written, as another balancer of the same name does."""

    def __init__(self, gateway: Gateway, address: StoreAddress, etcd: Etcd) -> None:
        super().__init__(gateway)
        self._etcd, self._address = etcd, address

    async def step(self, compare, success, read_else=()) -> Answer:
        if len(read_else) > 1:
            await asyncio.to_thread(self._etcd.etcdctl, "del", "--prefix", f"{self._address.prefix}/v1/staged/lb1:")
        return await super().step(compare, success, read_else)


def test_another_balancer_of_the_same_name_cannot_take_away_the_parts_of_a_change(etcd):
    async def test() -> None:
        address = address_in(etcd)
        layout = Layout(address.prefix)
        async with opened(address, "lb2") as other:
            version, _ = await change(other, None, 0.0)
            gateway = Gateway(address, ANYBODY)
            writer = Writer(Meeting(gateway, address, etcd), layout, "lb1")
            entries = {f"vips/{number}": {"x": 1} for number in range(250)}
            with pytest.raises(HeadMovedError):
                await writer.write(version, Change({"generation": 2}, entries))
            await gateway.close()
            assert (await other.read()).version == version

    etcd.run(test)
