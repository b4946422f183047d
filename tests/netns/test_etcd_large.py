# SPDX-License-Identifier: Apache-2.0
"""Changes that are too large for one step of etcd: all of them or nothing, also if a balancer dies in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.contract.repositories import watching
from tests.real_etcd import Etcd, running_etcd
from tests.stores import ANYBODY, address_in, opened, steps
from xdplb.cluster.repository import ABSENT, Change, Delta, Whole
from xdplb.etcd.gateway import Gateway
from xdplb.etcd.keys import Answer, Keys
from xdplb.etcd.layout import Layout
from xdplb.etcd.writing import Writer
from xdplb.model.errors import StoreAwayError
from xdplb.model.store_address import StoreAddress

pytestmark = pytest.mark.root

VIPS = {f"vips/{number:04}": {"number": number, "ü": ["x" * 50]} for number in range(1200)}


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running_etcd() as etcd:
        yield etcd


class Mortal(Keys):
    """Does so many steps, and no more, as a balancer that is killed."""

    def __init__(self, gateway: Gateway, steps: int) -> None:
        super().__init__(gateway)
        self.left = steps

    async def step(self, *arguments: object, **options: object) -> Answer:
        if self.left == 0:
            raise StoreAwayError("killed")
        self.left -= 1
        return await super().step(*arguments, **options)  # type: ignore[arg-type]


class Dying:
    """A writer that does so many steps."""

    def __init__(self, address: StoreAddress, steps: int) -> None:
        self.gateway = Gateway(address, ANYBODY)
        self.writer = Writer(Mortal(self.gateway, steps), Layout(address.prefix), "dying")


def staged(etcd: Etcd, address: StoreAddress) -> list[str]:
    return etcd.etcdctl("get", "--prefix", "--keys-only", f"{address.prefix}/v1/staged/").split()


def test_it_is_seen_as_one(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with opened(address) as one, opened(address, "lb2") as other, watching(other) as watcher:
            await watcher.next()
            version = await one.commit(ABSENT, Change({"generation": 1}, VIPS))
            assert await watcher.next() == Delta(version, {"generation": 1}, VIPS, frozenset())
            folded = await watcher.next()  # the parts have become entries, which is nothing new
            assert isinstance(folded, Delta)
            assert (folded.head, folded.puts, folded.deletes) == ({"generation": 1}, {}, frozenset())
            assert staged(etcd, address) == []
            assert await other.read() == Whole(folded.version, {"generation": 1}, VIPS)
            few = dict(list(VIPS.items())[:3])
            version = await other.commit(folded.version, Change({"generation": 2}, {}, list(VIPS)[3:]))
            assert (await one.read()).entries == few
            assert await watcher.next() == Delta(version, {"generation": 2}, {}, frozenset(list(VIPS)[3:]))

    etcd.run(test)


def test_the_next_change_may_follow_at_once(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with opened(address) as one, opened(address, "lb2") as other:
            version = await one.commit(ABSENT, Change({"generation": 1}, VIPS))
            version = await one.commit(version, Change({"generation": 2}, {"vips/0000": {"new": 1}}))
            await other.commit(version, Change({"generation": 3}, {"vips/0001": {"new": 2}}))
            whole = await one.read()
            assert whole.head == {"generation": 3}
            assert whole.entries == {**VIPS, "vips/0000": {"new": 1}, "vips/0001": {"new": 2}}

    etcd.run(test)


def test_a_balancer_dies_before_the_head_names_the_parts(etcd):
    async def test() -> None:
        address = address_in(etcd)
        dying = Dying(address, 5)
        with pytest.raises(StoreAwayError):
            await dying.writer.write(ABSENT, Change({"generation": 1}, VIPS))
        assert len(staged(etcd, address)) == 4
        async with opened(address) as other:
            assert (await other.read()).head is None
            await steps(other, ABSENT, 1, 1)
            assert list((await other.read()).entries) == ["vips/1"]
        async with opened(address, "dying") as again:
            await again.commit((await again.read()).version, Change({"generation": 2}, VIPS))
            assert len((await again.read()).entries) == 1201
        await dying.gateway.close()
        assert not any("/0003" in key and ":" not in key for key in staged(etcd, address))

    etcd.run(test)


@pytest.mark.parametrize("folded", [0, 1, 5, 12])
def test_a_balancer_dies_while_the_parts_become_entries(etcd, folded):
    parts = 12

    async def test() -> None:
        address = address_in(etcd)
        dying = Dying(address, 1 + parts + 1 + folded)
        version = await dying.writer.write(ABSENT, Change({"generation": 1, "digest": "d"}, VIPS))
        with pytest.raises(StoreAwayError):
            await dying.writer.fold(version)
        await dying.gateway.close()
        async with opened(address) as other, watching(other) as watcher:
            whole = await watcher.next()
            assert whole == Whole(version, {"generation": 1, "digest": "d"}, VIPS)
            await steps(other, version, 2, 2)
            seen: list[Delta] = []
            while not seen or seen[-1].head["generation"] < 2:
                delta = await watcher.next()
                assert isinstance(delta, Delta)
                seen.append(delta)
            assert [dict(delta.puts) for delta in seen if delta.puts] == [{"vips/2": {}}]
            assert (await other.read()).entries == {**VIPS, "vips/2": {}}
            assert staged(etcd, address) == []

    etcd.run(test)


def test_two_balancers_make_entries_of_the_same_parts(etcd):
    async def test() -> None:
        address = address_in(etcd)
        writers = [Dying(address, 1000) for _ in range(3)]
        version = await writers[0].writer.write(ABSENT, Change({"generation": 1}, VIPS))
        versions = await asyncio.gather(*(dying.writer.fold(version) for dying in writers))
        assert len(set(versions)) == 1
        async with opened(address) as other:
            assert await other.read() == Whole(versions[0], {"generation": 1}, VIPS)
        for dying in writers:
            await dying.gateway.close()

    etcd.run(test)
