# SPDX-License-Identifier: Apache-2.0
"""What every store that balancers share must do: the one in memory, and etcd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.real_etcd import Etcd, running_etcd
from xdplb.cluster.repository import ABSENT, Change, Delta, Whole
from xdplb.model.errors import HeadMovedError

from .repositories import EtcdKit, Kit, MemoryKit, ThreadKit, watching

Test = Callable[[Kit], Awaitable[None]]


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running_etcd() as etcd:
        yield etcd


ETCD: dict[str, Callable[[Etcd], Kit]] = {"etcd": EtcdKit, "thread": ThreadKit}


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.root) for kind in ETCD)])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    """Run a test with a store of each kind."""

    async def with_store(test: Test, make: Callable[[], Kit]) -> None:
        kit = make()
        try:
            await test(kit)
        finally:
            await kit.close()

    if request.param == "memory":
        return lambda test: asyncio.run(with_store(test, MemoryKit))
    etcd = request.getfixturevalue("etcd")
    return lambda test: etcd.run(lambda: with_store(test, lambda: ETCD[request.param](etcd)))


def test_an_empty_store_has_no_head(run):
    async def test(kit: Kit) -> None:
        assert await kit.open("lb1").read() == Whole(ABSENT, None, {})

    run(test)


def test_what_one_writes_the_other_reads(run):
    async def test(kit: Kit) -> None:
        one, other = kit.open("lb1"), kit.open("lb2")
        version = await one.commit(ABSENT, Change({"generation": 1}, {"vips/a": {"x": [1, "ü"]}, "backends/a/b": {}}))
        whole = await other.read()
        assert whole == Whole(version, {"generation": 1}, {"vips/a": {"x": [1, "ü"]}, "backends/a/b": {}})

    run(test)


def test_a_change_needs_the_present_head(run):
    async def test(kit: Kit) -> None:
        one, other = kit.open("lb1"), kit.open("lb2")
        first = await one.commit(ABSENT, Change({"generation": 1}, {"vips/a": {"by": 1}}))
        with pytest.raises(HeadMovedError):
            await other.commit(ABSENT, Change({"generation": 1}, {"vips/a": {"by": 2}}))
        second = await other.commit(first, Change({"generation": 2}, {"vips/b": {}}, ["vips/a"]))
        with pytest.raises(HeadMovedError):
            await one.commit(first, Change({"generation": 2}))
        assert await one.read() == Whole(second, {"generation": 2}, {"vips/b": {}})

    run(test)


def test_of_many_writers_at_once_each_gets_his_turn(run):
    async def test(kit: Kit) -> None:
        async def writer(name: str) -> int:
            repository, lost = kit.open(name), 0
            for _ in range(5):
                while True:
                    whole = await repository.read()
                    count = 0 if whole.head is None else whole.head["generation"]
                    try:
                        await repository.commit(
                            whole.version, Change({"generation": count + 1}, {f"vips/{name}/{count}": {}})
                        )
                        break
                    except HeadMovedError:
                        lost += 1
            return lost

        await asyncio.gather(*(writer(name) for name in ("lb1", "lb2", "lb3")))
        whole = await kit.open("lb4").read()
        assert whole.head == {"generation": 15}
        assert len(whole.entries) == 15

    run(test)


def test_a_watch_begins_with_all_and_then_yields_each_change(run):
    async def test(kit: Kit) -> None:
        one, other = kit.open("lb1"), kit.open("lb2")
        first = await one.commit(ABSENT, Change({"generation": 1}, {"vips/a": {}}))
        async with watching(other) as watcher:
            assert await watcher.next() == Whole(first, {"generation": 1}, {"vips/a": {}})
            second = await one.commit(first, Change({"generation": 2}, {"vips/b": {"n": 1}}, ["vips/a", "vips/none"]))
            third = await one.commit(second, Change({"generation": 3}))
            assert await watcher.next() == Delta(second, {"generation": 2}, {"vips/b": {"n": 1}}, frozenset({"vips/a"}))
            assert await watcher.next() == Delta(third, {"generation": 3}, {}, frozenset())

    run(test)


def test_a_watch_sees_the_first_head(run):
    async def test(kit: Kit) -> None:
        one, other = kit.open("lb1"), kit.open("lb2")
        async with watching(other) as watcher:
            assert await watcher.next() == Whole(ABSENT, None, {})
            version = await one.commit(ABSENT, Change({"generation": 1}, {"vips/a": {}}))
            assert await watcher.next() == Delta(version, {"generation": 1}, {"vips/a": {}}, frozenset())

    run(test)


def test_a_watch_says_that_the_store_was_emptied_and_goes_on(run):
    async def test(kit: Kit) -> None:
        one, other = kit.open("lb1"), kit.open("lb2")
        await one.commit(ABSENT, Change({"generation": 1}, {"vips/a": {}}))
        async with watching(other) as watcher:
            await watcher.next()
            await kit.empty()
            emptied = await watcher.next()
            assert isinstance(emptied, Whole)
            assert (emptied.version, emptied.head, dict(emptied.entries)) == (ABSENT, None, {})
            assert "emptied" in emptied.why
            again = await one.commit(ABSENT, Change({"generation": 7}, {"vips/c": {}}))
            assert await watcher.next() == Delta(again, {"generation": 7}, {"vips/c": {}}, frozenset())

    run(test)


def test_what_was_written_by_hand_is_told_with_its_place(run):
    async def test(kit: Kit) -> None:
        one = kit.open("lb1")
        first = await one.commit(ABSENT, Change({"generation": 1}, {"vips/a": {}, "vips/b": {}}))
        await kit.write_by_hand("vips/a")
        whole = await one.read()
        assert dict(whole.entries) == {"vips/b": {}}
        assert "no JSON object" in whole.unreadable["vips/a"]
        await one.commit(first, Change({"generation": 2}, {"vips/a": {"x": 1}}))
        whole = await one.read()
        assert (dict(whole.entries), dict(whole.unreadable)) == ({"vips/a": {"x": 1}, "vips/b": {}}, {})

    run(test)


def test_nodes_see_what_each_publishes_until_it_is_withdrawn(run):
    async def test(kit: Kit) -> None:
        one, other = kit.open("lb1"), kit.open("lb2")
        async with watching(other) as watcher:
            one.publish("status", {"generation": 1})
            one.publish("health", {"backends": {}})
            other.publish("status", {"generation": 2})
            want = {
                "lb1": {"status": {"generation": 1}, "health": {"backends": {}}},
                "lb2": {"status": {"generation": 2}},
            }
            assert (await watcher.until_nodes(lambda nodes: nodes.nodes == want)).nodes == want
            assert await other.nodes() == want
            one.publish("health", None)
            one.publish("status", {"generation": 3})
            await watcher.until_nodes(lambda nodes: nodes.nodes["lb1"] == {"status": {"generation": 3}})
            await one.close()
            await watcher.until_nodes(lambda nodes: set(nodes.nodes) == {"lb2"})

    run(test)
