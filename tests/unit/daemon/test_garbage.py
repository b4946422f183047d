# SPDX-License-Identifier: Apache-2.0
"""Full collections stop all threads, so they happen only when memory has grown a lot."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from xdplb.daemon import garbage
from xdplb.daemon.garbage import Garbage


@pytest.fixture
def full() -> Iterator[list[str]]:
    """What full collections have begun meanwhile."""
    seen: list[str] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start" and info["generation"] == 2:
            seen.append(phase)

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def test_many_objects_cause_no_full_collection(full: list[str]):
    before = gc.get_threshold()
    with Garbage():
        kept = [[number] for number in range(1_000_000)]
        assert not full
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
    del kept


def test_young_garbage_is_collected_after_a_start_without():
    gc.disable()
    try:
        with Garbage():
            assert gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(("grown", "times"), [(0, 0), (200 << 20, 1)])
def test_it_collects_again_when_memory_has_grown(
    full: list[str], monkeypatch: pytest.MonkeyPatch, grown: int, times: int
):
    memory = [500 << 20]
    monkeypatch.setattr(garbage, "_resident_bytes", lambda: memory[0])
    monkeypatch.setattr(garbage, "_LOOK_SECONDS", 0.01)

    async def run() -> None:
        with Garbage() as collected:
            memory[0] += grown
            watching = asyncio.create_task(collected.watch())
            await asyncio.sleep(0.1)
            watching.cancel()

    asyncio.run(run())
    assert len(full) == times


def test_what_a_start_has_switched_off_is_on_again():
    gc.disable()
    with Garbage():
        assert gc.isenabled()


@pytest.mark.parametrize(("grown", "times"), [(4 << 20, 0), (20 << 20, 1)])
def test_what_a_large_request_has_left_is_given_back_once(
    full: list[str], monkeypatch: pytest.MonkeyPatch, grown: int, times: int
):
    memory, given = [500 << 20], []

    def give_back() -> None:
        given.append(memory[0])

    monkeypatch.setattr(garbage, "_resident_bytes", lambda: memory[0])
    monkeypatch.setattr(garbage, "_give_back", give_back)
    monkeypatch.setattr(garbage, "_LOOK_SECONDS", 0.01)

    async def run() -> None:
        with Garbage() as collected:
            watching = asyncio.create_task(collected.watch())
            await asyncio.sleep(0.1)
            given.clear()  # what the start has left
            memory[0] += grown
            await asyncio.sleep(0.1)
            watching.cancel()

    asyncio.run(run())
    assert len(given) == times
    assert not full
