# SPDX-License-Identifier: Apache-2.0
"""Several balancers with one store: what one is asked for, all do; what was away or emptied comes together again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import until
from tests.unit.control.sharing import Node, Shared, play
from tests.unit.control.world import WEB, backend, with_backends
from xdplb.cluster.memory import MemoryRepository
from xdplb.cluster.repository import Change
from xdplb.control.writing.store_standing import StoreState
from xdplb.dataplane.plane import Capacity
from xdplb.model.backend import AdminState
from xdplb.model.errors import CapacityError, ConflictError, PreconditionError, StoreAwayError, StoreRefusedError
from xdplb.model.vip import Vip, VipKey

DNS = Vip(VipKey.parse("203.0.113.11:53/udp"), name="dns")


def backends_of(node: Node) -> dict[str, tuple[int, str]]:
    return {
        str(view.backend.address): (view.backend.weight, view.backend.admin_state) for view in node.door.backends("web")
    }


def test_what_one_is_asked_for_all_have_in_their_maps(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2", "lb3") as nodes:
            one, two, three = nodes
            await with_backends(one.door, 1, 2)
            await shared.agree(*nodes)
            await two.door.patch_backend("web", "10.0.0.2", {"weight": 5})
            await shared.agree(*nodes)
            assert backends_of(three) == {"10.0.0.1": (1, "ready"), "10.0.0.2": (5, "ready")}
            generations = [node.snapshot.generations for node in nodes]
            assert generations[0] == generations[1] == generations[2]
            tables = [node.world.table().tobytes() for node in nodes]
            assert tables[0] == tables[1] == tables[2]

    play(tmp_path, scenario)


def test_another_balancers_change_is_told_with_who_asked_for_it_there(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1)
            await shared.agree(one, two)
            told = two.told("change")
            assert [(event.edit, event.generation, event.vip, event.backend) for event in told] == [
                ("create_vip", 1, "203.0.113.10:443/tcp", None),
                ("create_backend", 2, "203.0.113.10:443/tcp", "10.0.0.1"),
            ]
            assert str(told[0].actor) == "daemon(node=lb1)"
            assert [each["kind"] for each in told[0].data()["changes"]] == ["vip_added"]

    play(tmp_path, scenario)


def test_of_two_that_change_the_same_the_later_must_have_read_it(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1)
            await shared.agree(one, two)
            read = one.door.backend("web", "10.0.0.1").generation
            done = await asyncio.gather(
                one.door.patch_backend("web", "10.0.0.1", {"weight": 2}, if_match=read),
                two.door.patch_backend("web", "10.0.0.1", {"weight": 3}, if_match=read),
                return_exceptions=True,
            )
            refused = [each for each in done if isinstance(each, BaseException)]
            assert [type(each) for each in refused] == [PreconditionError]
            await shared.agree(one, two)
            assert backends_of(one) == backends_of(two)

    play(tmp_path, scenario)


def test_writers_at_once_all_get_their_turn(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2", "lb3") as nodes:
            await with_backends(nodes[0].door)
            await shared.agree(*nodes)

            async def adds(node: Node, first: int) -> None:
                for last in range(first, first + 6):
                    await node.door.create_backend("web", backend(last))

            await asyncio.gather(*(adds(node, 10 * (place + 1)) for place, node in enumerate(nodes)))
            await shared.agree(*nodes)
            assert len(backends_of(nodes[0])) == 18
            assert sum(node.cluster.standing.conflicts for node in nodes) > 0

    play(tmp_path, scenario)


def test_while_the_store_is_away_only_what_may_wait_is_done(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2, 3)
            await shared.agree(one, two)
            shared.store.go_away("nobody answers at 192.0.2.1:2379")
            with pytest.raises(StoreAwayError) as refused:
                await one.door.create_backend("web", backend(4))
            assert "192.0.2.1" in refused.value.detail
            assert "drain" in refused.value.hint
            await one.door.drain("web", "10.0.0.1")
            await one.door.patch_backend("web", "10.0.0.2", {"weight": 7})
            await two.door.patch_backend("web", "10.0.0.3", {"admin_state": "maint"})
            assert backends_of(one)["10.0.0.2"] == (7, "ready")
            assert one.door.backend("web", "10.0.0.1").share == 0
            assert backends_of(two)["10.0.0.2"] == (1, "ready")
            assert len(one.snapshot.copy.pending) == 2
            await until(lambda: one.told("store_away"))
            shared.store.come_back()
            await shared.agree(one, two)
            want = {"10.0.0.1": (1, "drain"), "10.0.0.2": (7, "ready"), "10.0.0.3": (1, "maint")}
            assert backends_of(one) == backends_of(two) == want
            assert {event.backend for event in one.told("pending_written")} == {"10.0.0.1", "10.0.0.2"}
            assert one.told("store_back")

    play(tmp_path, scenario)


def test_what_somebody_else_has_changed_since_is_dropped_and_told(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1") as (one,):
            await with_backends(one.door, 1, 2)
            shared.store.go_away("partitioned")
            await one.door.patch_backend("web", "10.0.0.1", {"weight": 7})
            await one.door.patch_backend("web", "10.0.0.2", {"weight": 8})
            shown = one.door.backend("web", "10.0.0.1").generation
            shared.store.away = ""
            other = MemoryRepository(shared.store, "lb9")
            whole = await other.read()
            path = "backends/203.0.113.10:443:tcp/10.0.0.1"
            entry = {**whole.entries[path], "weight": 3, "generation": 4}
            head = {**(whole.head or {}), "generation": 4, "writer": "lb9", "digest": "0"}
            await other.commit(whole.version, Change(head, {path: entry}))
            shared.store.come_back()
            await until(lambda: one.told("pending_dropped") and one.state is StoreState.UP)
            assert backends_of(one) == {"10.0.0.1": (3, "ready"), "10.0.0.2": (8, "ready")}
            assert [event.backend for event in one.told("pending_written")] == ["10.0.0.2"]
            assert one.door.backend("web", "10.0.0.1").generation > shown

    play(tmp_path, scenario)


def test_pending_changes_survive_restarts_without_the_store(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2)
            await shared.agree(one, two)
        shared.store.go_away("down")
        async with shared.running("lb1") as (one,):
            assert one.state is StoreState.AWAY
            await one.door.patch_backend("web", "10.0.0.1", {"admin_state": "maint"})
        async with shared.running("lb1") as (one,):
            assert backends_of(one)["10.0.0.1"] == (1, AdminState.MAINT)
            assert len(one.snapshot.copy.pending) == 1
        shared.store.come_back()
        async with shared.running("lb1", "lb2") as (one, two):
            await shared.agree(one, two)
            assert backends_of(two)["10.0.0.1"] == (1, AdminState.MAINT)

    play(tmp_path, scenario)


def test_a_store_that_was_emptied_gets_the_state_back(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2", "lb3") as nodes:
            await with_backends(nodes[0].door, 1, 2)
            await shared.agree(*nodes)
            digest, generations = shared.digest(), nodes[0].snapshot.generations
            shared.store.empty()
            await until(lambda: shared.store.kept.head is not None)
            await shared.agree(*nodes)
            assert shared.digest() == digest
            assert all(node.snapshot.generations == generations for node in nodes)
            assert len([event for node in nodes for event in node.told("store_written")]) >= 1
            await nodes[2].door.create_backend("web", backend(3))
            await shared.agree(*nodes)

    play(tmp_path, scenario)


def test_a_store_restored_to_an_older_point_gets_the_newer_state_back(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as nodes:
            await with_backends(nodes[0].door, 1, 2)
            await shared.agree(*nodes)
            old = shared.store.kept
            await nodes[0].door.create_backend("web", backend(3))
            await nodes[1].door.patch_backend("web", "10.0.0.1", {"weight": 4})
            await shared.agree(*nodes)
            digest = shared.digest()
            shared.store.restore(old)
            await until(lambda: shared.digest() == digest)
            await shared.agree(*nodes)
            assert len(backends_of(nodes[0])) == 3

    play(tmp_path, scenario)


def test_a_store_that_went_another_way_wins_and_it_is_told_what_changed(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1") as (one,):
            await with_backends(one.door, 1)
        old = shared.store.kept
        async with shared.running("lb1") as (one,):
            await one.door.create_backend("web", backend(2))
            await one.door.create_vip(DNS)
        shared.store.restore(old)
        async with shared.running("lb2") as (two,):
            await two.door.create_backend("web", backend(7))
        async with shared.running("lb1", "lb2") as (one, two):
            await shared.agree(one, two)
            assert set(backends_of(one)) == {"10.0.0.1", "10.0.0.7"}
            assert one.snapshot.generation > 4
            assert [set(event.changed) for event in one.told("store_diverged")] == [
                {"203.0.113.10:443/tcp", "203.0.113.11:53/udp"}
            ]
            assert not two.told("store_diverged")

    play(tmp_path, scenario)


def test_a_balancer_with_a_state_of_its_own_does_not_join_a_store_with_another(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        alone = shared.world("lb2")
        alone.repository, repository = None, alone.repository
        async with alone.running() as door:
            await door.create_vip(DNS)
        alone.repository = repository
        async with shared.running("lb1") as (one,):
            await with_backends(one.door, 1)
        with pytest.raises(ConflictError, match="was never in the store"):
            async with alone.running():
                pass
        assert len(shared.store.kept.entries) == 2

    play(tmp_path, scenario)


def test_a_balancer_that_was_without_the_store_comes_back_if_nothing_was_changed_there(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2)
            await shared.agree(one, two)
        world = shared.world("lb1")
        with_store, world.repository = world.repository, None
        async with world.running() as alone:
            assert alone.backend("web", "10.0.0.1").backend.weight == 1
        async with shared.running("lb2") as (two,):
            await two.door.patch_backend("web", "10.0.0.1", {"weight": 7})
        world.repository = with_store
        async with shared.running("lb1", "lb2") as (one, two):
            await shared.agree(one, two)
            assert one.door.backend("web", "10.0.0.1").backend.weight == 7
        world.repository = None
        async with world.running() as alone:
            await alone.patch_backend("web", "10.0.0.1", {"weight": 9})
        world.repository = with_store
        with pytest.raises(ConflictError, match="or was changed without it"):
            async with world.running():
                pass
        world.repository = None
        async with world.running() as alone:
            await alone.patch_backend("web", "10.0.0.1", {"weight": 7})  # as it is in the store
        world.repository = with_store
        async with shared.running("lb1", "lb2") as (one, two):
            await two.door.patch_backend("web", "10.0.0.2", {"weight": 5})
            await shared.agree(one, two)

    play(tmp_path, scenario)


def test_a_balancer_with_a_state_of_its_own_begins_an_empty_store_with_it(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        alone = shared.world("lb1")
        alone.repository, repository = None, alone.repository
        async with alone.running() as door:
            await with_backends(door, 1, 2)
        alone.repository = repository
        async with shared.running("lb1", "lb2") as (one, two):
            await shared.agree(one, two)
            assert backends_of(one) == backends_of(two)
            assert one.snapshot.generations == two.snapshot.generations

    play(tmp_path, scenario)


def test_what_a_host_has_no_room_for_is_drift_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        shared.world("lb2").plane = type(shared.world("lb2").plane)(
            Capacity(vips=1), clock=lambda: int(shared.world("lb2").clock.seconds * 1e9)
        )
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1)
            await one.door.create_vip(DNS)
            await one.door.patch_backend("web", "10.0.0.1", {"weight": 4})
            await until(lambda: backends_of(two) == {"10.0.0.1": (4, "ready")})
            assert [str(view.vip.key) for view in two.door.vips()] == ["203.0.113.10:443/tcp"]
            await until(lambda: [drift.kind for drift in two.door.status().drift] == ["entry"])
            assert str(two.snapshot.copy.digest) == str(one.snapshot.copy.digest)
            with pytest.raises(CapacityError):
                await two.door.create_vip(DNS)
            await one.door.delete_vip("dns")
            await until(lambda: not two.door.status().drift)

    play(tmp_path, scenario)


def test_what_is_not_understood_leaves_the_vip_as_it_was(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1)
            await shared.agree(one, two)
            newer = MemoryRepository(shared.store, "lb9")
            whole = await newer.read()
            path = "vips/203.0.113.10:443:tcp"
            head = {**(whole.head or {}), "generation": 3, "writer": "lb9"}
            entries = {
                path: {**whole.entries[path], "scheduler": "of-tomorrow", "generation": 3},
                "vips/203.0.113.12:80:tcp": {"later": True, "generation": 3},
            }
            await newer.commit(whole.version, Change(head, entries))
            await until(lambda: len(two.door.vips()) == 2)
            assert two.door.vip("web").vip.scheduler == "maglev"
            await until(lambda: "of-tomorrow" in "".join(drift.reason for drift in two.door.status().drift))
            await two.door.patch_backend("web", "10.0.0.1", {"weight": 9})
            await two.door.create_backend("203.0.113.12:80:tcp", backend(5))
            with pytest.raises(ConflictError, match="does not take"):
                await one.door.patch_vip("web", {"name": "other"})
            assert shared.store.kept.entries[path]["scheduler"] == "of-tomorrow"
            assert shared.store.kept.entries["vips/203.0.113.12:80:tcp"]["later"] is True
            await one.door.patch_vip("203.0.113.12:80:tcp", {"name": "new"})
            assert shared.store.kept.entries["vips/203.0.113.12:80:tcp"] == {
                "later": True,
                "name": "new",
                "generation": one.snapshot.generation,
            }

    play(tmp_path, scenario)


def test_a_store_that_a_newer_version_has_written_is_left_alone(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1") as (one,):
            await with_backends(one.door, 1)
            newer = MemoryRepository(shared.store, "lb9")
            whole = await newer.read()
            await newer.commit(whole.version, Change({**(whole.head or {}), "schema": 99, "generation": 9}))
            await until(lambda: one.state is StoreState.APART)
            with pytest.raises(StoreRefusedError, match="upgrade"):
                await one.door.create_backend("web", backend(2))
            assert backends_of(one) == {"10.0.0.1": (1, "ready")}

    play(tmp_path, scenario)


def test_drains_count_from_when_a_balancer_has_seen_them(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        shared.world("lb2").clock.advance(3600)  # its clock is an hour ahead
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2)
            await one.door.drain("web", "10.0.0.1", timeout_seconds=60)
            await shared.agree(one, two)
            seen = [node.door.backend("web", "10.0.0.1").drain for node in (one, two)]
            assert [view.state for view in seen] == [seen[0].state] * 2
            assert str(one.snapshot.copy.digest) == str(two.snapshot.copy.digest)
            first = two.snapshot.vips[WEB.key].backends[backend(1).address].drain
            await one.door.patch_backend("web", "10.0.0.1", {"weight": 3})
            await shared.agree(one, two)
            assert two.snapshot.vips[WEB.key].backends[backend(1).address].drain == first

    play(tmp_path, scenario)


def test_a_change_of_another_balancer_is_planned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2)
            await shared.agree(one, two)
            applier = two.door.manager._writer.applier
            planned: list[int] = []
            forecast = applier.forecast

            def counted(*given: Any, **more: Any) -> Any:
                planned.append(1)
                return forecast(*given, **more)

            monkeypatch.setattr(applier, "forecast", counted)
            for weight in range(2, 12):
                await one.door.patch_backend("web", "10.0.0.1", {"weight": weight})
                await shared.agree(one, two)
            assert 10 <= len(planned) < 16  # something may be observed in between

    play(tmp_path, scenario)


def test_a_slow_store_does_not_hold_up_failed_checks(tmp_path: Path) -> None:
    from xdplb.model.backend import Health
    from xdplb.model.health import HealthCheck

    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1") as (one,):
            await with_backends(one.door, 1, 2)
            await one.door.put_health_check("web", HealthCheck())
            repository, turn = one.cluster._repository, asyncio.Event()
            commit = repository.commit

            async def slow(*given: object) -> object:
                await turn.wait()
                return await commit(*given)  # type: ignore[arg-type]

            repository.commit = slow  # type: ignore[method-assign,assignment]
            change = asyncio.create_task(one.door.create_backend("web", backend(3)))
            await asyncio.sleep(0.02)
            one.world.health.flip("10.0.0.1", Health.DOWN)
            await until(lambda: one.door.backend("web", "10.0.0.1").share == 0, 1.0)
            assert not change.done()
            turn.set()
            await change
            assert len(backends_of(one)) == 3

    play(tmp_path, scenario)
