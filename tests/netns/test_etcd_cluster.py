# SPDX-License-Identifier: Apache-2.0
"""The store in a cluster of three members, of which some are lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.contract.repositories import Watcher, watching
from tests.real_etcd import Etcd, running_etcd
from tests.stores import address_in, away, back, generations, opened, steps
from xdplb.cluster.repository import ABSENT, Whole
from xdplb.model.errors import StoreAwayError

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running_etcd(3) as etcd:
        yield etcd


@pytest.fixture(autouse=True)
def whole(etcd: Etcd) -> Iterator[None]:
    """Have all members run again after each test."""
    yield
    for member in etcd.members:
        if member.process is None:
            member.start()
        else:
            member.thaw()
    etcd.wait()


def reads_again(watcher: Watcher) -> bool:
    """Return whether everything was read again."""
    return sum(isinstance(seen, Whole) for seen in watcher.seen) > 1


@pytest.mark.parametrize("lost", ["the leader", "the one that is asked", "another"])
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_member_that_is_lost_costs_moments(etcd, lost, how):
    async def test() -> float:
        leader = await asyncio.to_thread(etcd.leader)
        others = [member for member in etcd.members if member is not leader]
        order = {
            "the leader": [leader, *others],
            "the one that is asked": [*others, leader],
            "another": [leader, *others],
        }[lost]
        victim = order[2 if lost == "another" else 0]
        address = etcd.address(address_in(etcd).prefix, order)
        async with opened(address) as one, opened(address, "lb2") as other, watching(other) as watcher:
            await watcher.next()
            version = await steps(one, ABSENT, 1, 2)
            assert await generations(watcher, 2) == [1, 2]
            await asyncio.to_thread(getattr(victim, how))
            began = time.monotonic()
            await steps(one, version, 3, 6)
            assert await generations(watcher, 6) == [3, 4, 5, 6]
            took = time.monotonic() - began
            assert not reads_again(watcher)
            return took

    assert etcd.run(test) < 6


def test_most_members_are_lost_and_come_back(etcd):
    async def test() -> None:
        async with opened(address_in(etcd)) as repository, watching(repository) as watcher:
            await watcher.next()
            version = await steps(repository, ABSENT, 1, 1)
            assert await generations(watcher, 1) == [1]
            for member in etcd.members[:2]:
                await asyncio.to_thread(member.kill)
            await away(watcher)
            with pytest.raises(StoreAwayError):
                await steps(repository, version, 2, 2)
            with pytest.raises(StoreAwayError):
                await repository.read()
            etcd.members[0].start()
            await back(watcher)
            whole = await repository.read()
            generation = whole.head["generation"] if whole.head is not None else 0
            assert generation in {1, 2}  # the one that was in doubt may have been written
            await steps(repository, whole.version, generation + 1, 9)
            assert (await generations(watcher, 9))[-1] == 9
            assert not reads_again(watcher)

    etcd.run(test)


def test_all_members_are_restarted_one_after_the_other(etcd):
    async def test() -> None:
        async with opened(address_in(etcd)) as repository, watching(repository) as watcher:
            await watcher.next()
            repository.publish("status", {"n": 1})
            version = await steps(repository, ABSENT, 1, 1)
            for generation, member in enumerate(etcd.members, 2):
                await asyncio.to_thread(member.kill)
                member.start()
                await asyncio.to_thread(etcd.wait)
                version = await steps(repository, version, generation, generation)
            assert await generations(watcher, 4) == [1, 2, 3, 4]
            assert await repository.nodes() == {"lb1": {"status": {"n": 1}}}
            assert not reads_again(watcher)

    etcd.run(test)
