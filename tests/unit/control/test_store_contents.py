# SPDX-License-Identifier: Apache-2.0
"""What somebody has written into the store by hand, or another program has: it is refused and told, and all goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.fakes import until
from tests.unit.control.sharing import Node, Shared, play
from tests.unit.control.world import with_backends
from xdplb.cluster.memory import Kept, MemoryRepository
from xdplb.cluster.repository import ABSENT, Change
from xdplb.control.writing.store_standing import StoreState
from xdplb.model.errors import ConflictError, StoreAwayError

VIP = "203.0.113.10:443:tcp"
BACKEND = f"backends/{VIP}/10.0.0.1"
HUGE = 10**400
ENTRIES: list[tuple[str, dict[str, Any]]] = [
    (BACKEND, {"weight": 1.5}),
    (BACKEND, {"weight": True}),
    (BACKEND, {"weight": HUGE}),
    (BACKEND, {"max_new_flows": 2.5}),
    (BACKEND, {"checked": "no"}),
    (BACKEND, {"check_path": "/\ud800"}),
    (BACKEND, {"admin_state": "drain", "drain": {"id": "x", "timeout_seconds": float("inf"), "quiet_seconds": 1}}),
    (BACKEND, {"admin_state": "drain", "drain": {"id": "x", "timeout_seconds": HUGE, "quiet_seconds": 1}}),
    (BACKEND, {"declared": {"weight": "1", "admin_state": "ready"}}),
    (f"backends/{VIP}/0.0.0.0", {}),
    (f"backends/{VIP}/224.0.0.1", {"generation": 1 << 70}),
    (f"backends/{VIP}/fe80::1%eth0", {}),
    (f"vips/{VIP}", {"idle_timeout_seconds": 60.5}),
    (f"vips/{VIP}", {"limits": {"packets": True}}),
    (f"vips/{VIP}", {"panic_share": HUGE}),
    (f"vips/{VIP}", {"checks": [{"type": "tcp", "target": None, "rise": "2"}]}),
    ("vips/127.0.0.1:80:tcp", {}),
    ("vips/203.0.113.010:80:tcp", {}),
    ("anything", {}),
]
HEADS: list[dict[str, Any]] = [
    {"generation": 1 << 70},
    {"generation": True},
    {"generation": -1},
    {"instance": "\ud800"},
    {"schema": None},
]
SETTINGS: list[Any] = [5, {"api": []}, {"api": {"connections": 0}}, {"api": {"requests": "many"}}]


NOTHING: Mapping[str, Any] = MappingProxyType({})


async def write(
    shared: Shared, entries: Mapping[str, Any], head: Mapping[str, Any] = NOTHING, deletes: Collection[str] = ()
) -> None:
    """Write into the store as another program does."""
    stranger = MemoryRepository(shared.store, "stranger")
    whole = await stranger.read()
    assert whole.head is not None
    made = {**whole.head, "generation": whole.head["generation"] + 1, "writer": "stranger", **head}
    await stranger.commit(whole.version, Change(made, entries, deletes))


async def _until_up(node: Node) -> None:
    await until(lambda: node.state is StoreState.UP)


async def _until_refused(path: str, *nodes: Node) -> None:
    """Wait until each balancer leaves out what is at this path, and tells it."""

    def is_told() -> bool:
        return all(
            path in node.snapshot.copy.refused() and any(drift.what == path for drift in node.door.status().drift)
            for node in nodes
        )

    await until(is_told)


async def goes_on(*nodes: Node) -> None:
    """Have each balancer make a change of what is not concerned."""
    for number, node in enumerate(nodes):
        await _until_up(node)
        await node.door.patch_backend("web", "10.0.0.2", {"weight": node.snapshot.generation % 100 + number + 2})


def test_entries_of_wrong_contents_are_left_out_and_told(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2)
            await shared.agree(one, two)
            good, before = shared.store.kept.entries, one.snapshot.desired.vips
            for path, entry in ENTRIES:
                wrong = {**good.get(path, {}), **entry}
                await write(shared, {path: wrong})
                await _until_refused(path, one, two)
                assert one.snapshot.desired.vips == two.snapshot.desired.vips == before, (path, entry)
                await write(shared, {path: good[path]} if path in good else {}, deletes=() if path in good else [path])
                await until(lambda: not one.snapshot.copy.refused() and not two.snapshot.copy.refused())
            for path, entry in ENTRIES:
                if path not in good:
                    await write(shared, {path: entry})
                    await _until_refused(path, one, two)
            await goes_on(one, two)
            await shared.agree(one, two)
        async with shared.running("lb1", "lb3") as (again, new):
            await goes_on(again, new)
            await shared.agree(again, new)
            assert again.snapshot.copy.refused().keys() == {path for path, _ in ENTRIES if path not in good}

    play(tmp_path, scenario)


def test_a_generation_of_an_entry_that_cannot_be_is_not_taken(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2)
            await write(shared, {BACKEND: {"weight": 7, "generation": 1 << 70}})
            await until(lambda: one.door.backend("web", "10.0.0.1").backend.weight == 7)
            assert one.door.backend("web", "10.0.0.1").generation == one.snapshot.generation
            await goes_on(one, two)
            await shared.agree(one, two)
            assert one.snapshot.generations == two.snapshot.generations

    play(tmp_path, scenario)


def test_a_head_of_wrong_contents_stops_changes_until_it_is_removed(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1") as (one,):
            await with_backends(one.door, 1, 2)
            for head in HEADS:
                good = shared.store.kept
                await write(shared, {}, head)
                await until(lambda: one.state is StoreState.JOINING)
                assert "none that xdplb has written" in one.cluster.standing.reason
                shared.store.restore(good)
                await goes_on(one)
            await write(shared, {}, HEADS[0])
        async with shared.running("lb1") as (one,):
            assert one.state is StoreState.JOINING
            await one.door.patch_backend("web", "10.0.0.1", {"weight": 9})  # which may wait
            with pytest.raises(StoreAwayError, match="does not have the state of the store: the head"):
                await one.door.delete_backend("web", "10.0.0.1")
            shared.store.empty()
            await goes_on(one)
            await shared.agree(one)

    play(tmp_path, scenario)


def test_entries_without_a_head_are_not_begun_anew_by_one_that_has_nothing(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1") as (one,):
            await with_backends(one.door, 1, 2)
        shared.store.restore(Kept(ABSENT, None, shared.store.kept.entries))
        with pytest.raises(
            ConflictError, match=r"3 entries, such as backends/203.0.113.10:443:tcp/10.0.0.1, and no head"
        ):
            async with shared.running("lb2"):
                pass
        async with shared.running("lb1", "lb2") as (one, two):
            await shared.agree(one, two)
            assert len(two.door.vips()) == 1

    play(tmp_path, scenario)


def test_settings_of_wrong_contents_are_not_taken_and_told(tmp_path: Path) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2)
            for settings in SETTINGS:
                await write(shared, {}, {"settings": settings})
                await _until_refused("head", one, two)
                assert one.snapshot.desired.settings.api.connections is None
                await goes_on(one, two)
                await shared.agree(one, two)
                assert "head" not in shared.store.kept.entries
            await write(shared, {}, {"settings": {}})
            await until(lambda: not one.snapshot.copy.refused())
            await goes_on(two)
            await shared.agree(one, two)

    play(tmp_path, scenario)


def test_what_nobody_has_thought_of_does_not_end_what_follows_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(shared: Shared) -> None:
        async with shared.running("lb1", "lb2") as (one, two):
            await with_backends(one.door, 1, 2)
            await shared.agree(one, two)
            with monkeypatch.context() as broken:
                broken.setattr("xdplb.control.writing.cluster.joined", lambda *_given, **_more: 1 // 0)
                await write(shared, {BACKEND: {"weight": 7}})
                await until(lambda: two.state is StoreState.JOINING)
                await asyncio.sleep(1.2)  # a further try
            await until(lambda: two.door.backend("web", "10.0.0.1").backend.weight == 7)
            await goes_on(one, two)
            await shared.agree(one, two)

    play(tmp_path, scenario)
