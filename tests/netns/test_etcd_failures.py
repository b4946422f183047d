# SPDX-License-Identifier: Apache-2.0
"""What happens to the store that balancers share, with real etcd: it is killed, emptied, restored, slow, cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.contract.repositories import watching
from tests.real_etcd import Etcd, running_etcd
from tests.stores import address_in, away, back, behind_gate, generations, opened, steps
from tests.tcp_gate import open_gate
from xdplb.cluster.repository import ABSENT, Away, Back, Change, Whole
from xdplb.model.errors import HeadMovedError, StoreAwayError, StoreDoubtError

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running_etcd() as etcd:
        yield etcd


def test_etcd_is_killed_and_comes_back(etcd):
    async def test() -> None:
        async with opened(address_in(etcd)) as repository, watching(repository) as watcher:
            await watcher.next()
            version = await steps(repository, ABSENT, 1, 2)
            assert await generations(watcher, 2) == [1, 2]
            member = etcd.members[0]
            await asyncio.to_thread(member.kill)
            assert "nothing listens at 127.0.0.1:2379" in await away(watcher)
            with pytest.raises(StoreAwayError, match="nothing listens"):
                await repository.commit(version, Change({"generation": 3}))
            with pytest.raises(StoreAwayError, match="nothing listens"):
                await repository.read()
            member.start()
            await asyncio.to_thread(etcd.wait)
            assert await back(watcher) == Back()
            await steps(repository, version, 3, 3)
            assert await generations(watcher, 3) == [3]

    etcd.run(test)


def test_while_it_is_away_it_costs_next_to_nothing(etcd):
    async def test() -> float:
        async with opened(replace(address_in(etcd), members=("127.0.0.1:9",))) as repository:
            repository.publish("status", {"generation": 1})
            async with watching(repository) as watcher:
                await away(watcher)
                before = time.process_time()
                await asyncio.sleep(2)
                return time.process_time() - before

    assert etcd.run(test) < 0.2


def test_a_node_that_was_cut_off_misses_nothing(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with opened(address) as other, behind_gate(etcd, address) as (gate, repository):
            version = await steps(other, ABSENT, 1, 1)
            async with watching(repository) as watcher:
                await watcher.next()
                gate.hold()
                await steps(other, version, 2, 5)
                assert "did not answer within" in await away(watcher)
                with pytest.raises(StoreAwayError):
                    await repository.read()
                gate.release()
                assert await generations(watcher, 5) == [2, 3, 4, 5]

    etcd.run(test)


def test_a_node_that_was_cut_off_while_the_store_forgot_reads_everything_again(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with opened(address) as other, behind_gate(etcd, address) as (gate, repository):
            version = await steps(other, ABSENT, 1, 1)
            async with watching(repository) as watcher:
                await watcher.next()
                await gate.close()
                await away(watcher)
                version = await steps(other, version, 2, 5)
                await asyncio.to_thread(etcd.etcdctl, "compact", str(version.revision))
                await gate.start()
                seen = await back(watcher)
                assert isinstance(seen, Whole)
                assert (seen.version, len(seen.entries)) == (version, 5)
                assert "forgotten" in seen.why
                await steps(other, version, 6, 6)
                assert await generations(watcher, 6) == [6]

    etcd.run(test)


def test_a_store_that_was_restored_is_noticed_though_its_watch_stays_silent(etcd):
    async def test() -> None:
        async with opened(address_in(etcd)) as repository:
            first = await steps(repository, ABSENT, 1, 1)
            backup = await asyncio.to_thread(etcd.save)
            async with watching(repository) as watcher:
                await watcher.next()
                later = await steps(repository, first, 2, 4)
                assert await generations(watcher, 4) == [2, 3, 4]
                await asyncio.to_thread(etcd.restore, backup)
                seen = await back(watcher)
                assert isinstance(seen, Whole)
                assert (seen.version, dict(seen.entries)) == (first, {"vips/1": {}})
                assert "restored" in seen.why
                with pytest.raises(HeadMovedError):
                    await repository.commit(later, Change({"generation": 5}))
                await steps(repository, first, 2, 3)
                assert await generations(watcher, 3) == [2, 3]

    etcd.run(test)


def test_a_store_that_was_restored_and_went_on_is_not_taken_for_the_same(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with opened(address) as other, behind_gate(etcd, address) as (gate, repository):
            first = await steps(other, ABSENT, 1, 1)
            backup = await asyncio.to_thread(etcd.save)
            async with watching(repository) as watcher:
                await watcher.next()
                await steps(other, first, 2, 4)
                assert await generations(watcher, 4) == [2, 3, 4]
                await gate.close()
                await asyncio.to_thread(etcd.restore, backup)
                await steps(other, first, 2, 9, "other")  # further than it has been
                await gate.start()
                seen = await back(watcher)
                assert isinstance(seen, Whole)
                assert seen.head == {"generation": 9, "digest": "other"}
                assert "restored" in seen.why

    etcd.run(test)


def test_a_store_that_was_made_anew_is_empty(etcd):
    async def test() -> None:
        async with opened(address_in(etcd)) as repository:
            repository.publish("status", {"n": 1})
            await steps(repository, ABSENT, 1, 3)
            async with watching(repository) as watcher:
                await watcher.next()
                await asyncio.to_thread(etcd.make_anew)
                seen = await back(watcher)
                assert isinstance(seen, Whole)
                assert (seen.version, seen.head, dict(seen.entries)) == (ABSENT, None, {})
                await watcher.until_nodes(lambda nodes: nodes.nodes == {"lb1": {"status": {"n": 1}}})
                await steps(repository, ABSENT, 7, 7)
                assert await generations(watcher, 7) == [7]

    etcd.run(test)


def test_what_was_published_after_the_backup_is_there_again(etcd):
    async def test() -> None:
        async with opened(address_in(etcd)) as repository, watching(repository) as watcher:
            await watcher.next()
            repository.publish("status", {"n": 1})
            await watcher.until_nodes(lambda nodes: "lb1" in nodes.nodes)
            backup = await asyncio.to_thread(etcd.save)
            repository.publish("status", {"n": 2})
            repository.publish("health", {})
            want = {"lb1": {"status": {"n": 2}, "health": {}}}
            await watcher.until_nodes(lambda nodes: nodes.nodes == want)
            await asyncio.to_thread(etcd.restore, backup)
            await back(watcher)
            await watcher.until_nodes(lambda nodes: nodes.nodes == want)

    etcd.run(test)


def test_a_lease_that_was_lost_is_replaced_by_another(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with opened(address) as repository, opened(address, "lb2") as other, watching(other) as watcher:
            repository.publish("status", {"n": 1})
            await watcher.until_nodes(lambda nodes: "lb1" in nodes.nodes)
            for lease in etcd.etcdctl("lease", "list").splitlines()[1:]:
                etcd.etcdctl("lease", "revoke", lease)
            await watcher.until_nodes(lambda nodes: "lb1" not in nodes.nodes)
            repository.publish("status", {"n": 2})
            await watcher.until_nodes(lambda nodes: nodes.nodes == {"lb1": {"status": {"n": 2}}})

    etcd.run(test)


def test_a_node_that_dies_is_gone_when_its_lease_ends(etcd, monkeypatch):
    monkeypatch.setattr("xdplb.etcd.presence.LEASE_SECONDS", 1)

    async def test() -> None:
        address = address_in(etcd)
        async with (
            opened(address, "lb2") as other,
            behind_gate(etcd, address) as (gate, repository),
            watching(other) as watcher,
        ):
            repository.publish("status", {"n": 1})
            await watcher.until_nodes(lambda nodes: "behind" in nodes.nodes)
            gate.hold()
            await watcher.until_nodes(lambda nodes: "behind" not in nodes.nodes)
            gate.release()
            await watcher.until_nodes(lambda nodes: "behind" in nodes.nodes)

    etcd.run(test)


def test_a_slow_store_works_slowly(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with behind_gate(etcd, address) as (gate, repository), watching(repository) as watcher:
            gate.delay = 0.3
            await watcher.next()
            await steps(repository, ABSENT, 1, 2)
            assert await generations(watcher, 2) == [1, 2]
            assert not any(isinstance(seen, Away) for seen in watcher.seen)

    etcd.run(test)


def test_a_change_whose_answer_is_lost_is_in_doubt_and_seen_later(etcd):
    async def test() -> None:
        address = address_in(etcd)
        async with behind_gate(etcd, address) as (gate, repository), watching(repository) as watcher:
            await watcher.next()
            gate.loses_answers = True
            with pytest.raises(StoreDoubtError, match="may have been written"):
                await steps(repository, ABSENT, 1, 1)
            gate.loses_answers = False
            await gate.close()
            await gate.start()
            assert await generations(watcher, 1) == [1]

    etcd.run(test)


def test_a_change_whose_answer_was_lost_is_found_to_be_written(etcd):
    async def test() -> None:
        address = address_in(etcd)
        direct = etcd.members[0].client
        async with (
            open_gate(direct) as gate,
            opened(replace(address, members=(gate.place, direct))) as repository,
        ):
            first = await steps(repository, ABSENT, 1, 1)
            gate.loses_answers = True
            second = await steps(repository, first, 2, 2)
            whole = await repository.read()
            assert (whole.version, len(whole.entries)) == (second, 2)

    etcd.run(test)


def test_a_clock_that_jumps_changes_nothing(etcd, monkeypatch):
    async def test() -> None:
        async with opened(address_in(etcd)) as repository, watching(repository) as watcher:
            await watcher.next()
            repository.publish("status", {"n": 1})
            await watcher.until_nodes(lambda nodes: "lb1" in nodes.nodes)
            now = time.time()
            for jump in (86_400, -86_400):
                monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
                await asyncio.sleep(1.2)
            await steps(repository, ABSENT, 1, 1)
            assert await generations(watcher, 1) == [1]
            assert list(await repository.nodes()) == ["lb1"]
            assert not any(isinstance(seen, Away) for seen in watcher.seen)

    etcd.run(test)
