"""A state that cannot be written: a sentence with a remedy, an event, not ready, and ready again when it can."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run_in, with_backends
from xdplb.control.events import Event, StateNotWritable, StateWritable
from xdplb.control.state.sqlite import SqliteStore
from xdplb.model.errors import ConflictError, StateError

root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path) -> None:
    """Leave no room in the file system."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@root
def test_a_full_disk_is_told_and_forgotten_when_there_is_room(small: Path) -> None:
    async def scenario(door: Door) -> None:
        events: list[Event] = []
        door.manager.events.listen(events.append)
        await with_backends(door, 1)
        generation = door.status().generation
        fill(small / "filler")
        refused = ""
        for last in range(2, 200):  # until the room that the file has already is used up
            try:
                await door.create_backend("web", backend(last))
            except StateError as error:
                refused = str(error)
                break
            generation += 1
        assert "cannot be written: its file system is full (make room on it: df " in refused
        assert door.status().generation == generation
        assert door.not_ready() == [f"changes are refused: {refused}"]
        assert [type(event) for event in events].count(StateNotWritable) == 1
        (small / "filler").unlink()
        await until(lambda: door.not_ready() == [])
        assert [type(event) for event in events].count(StateWritable) == 1
        await door.create_backend("web", backend(250))

    run_in(World(small / "state"), scenario)


@pytest.mark.parametrize("name", ["state.db", "state.db-wal"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_taken_away_refuses_changes_that_would_be_lost(
    tmp_path: Path, name: str, replaced: bool
) -> None:
    async def scenario(door: Door) -> None:
        await with_backends(door, 1)
        file, aside = tmp_path / "state" / name, tmp_path / "aside"
        file.rename(aside)
        if replaced:
            file.write_bytes(aside.read_bytes())
        with pytest.raises(StateError, match="cannot be written: the file was removed or replaced") as raised:
            await door.create_backend("web", backend(2))
        assert "put it back" in str(raised.value.hint)
        assert door.not_ready() == [f"changes are refused: {raised.value}"]
        aside.rename(file)
        await until(lambda: door.not_ready() == [])
        await door.create_backend("web", backend(2))

    run_in(World(tmp_path / "state"), scenario)


def test_a_file_that_is_taken_away_is_noticed_without_a_change(tmp_path: Path) -> None:
    async def scenario(door: Door) -> None:
        (tmp_path / "state" / "state.db").unlink()
        await until(lambda: door.not_ready() != [])

    run_in(World(tmp_path / "state"), scenario)


@root
def test_a_read_only_file_system_is_called_so(small: Path) -> None:
    store = SqliteStore(small / "state")
    store.open()
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    for folder in ("state", "new"):
        with pytest.raises(StateError, match="cannot be opened: its file system, or the file, is read-only") as raised:
            SqliteStore(small / folder).open()
        assert "remount,rw" in raised.value.hint
    subprocess.run(["mount", "-o", "remount,rw", small], check=True)


def test_a_file_in_the_place_of_the_folder_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    for folder in (tmp_path / "state", tmp_path / "state" / "below"):
        with pytest.raises(StateError, match="is not a folder") as raised:
            SqliteStore(folder).open()
        assert "another --state-dir" in raised.value.hint


def test_another_daemons_state_is_a_conflict_and_a_damaged_one_is_no_disk_error(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path)
    first.open()
    with pytest.raises(ConflictError, match="is held by another xdplb"):
        SqliteStore(tmp_path).open()
    first.close()
    (tmp_path / "state.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(StateError, match="is damaged") as raised:
        SqliteStore(tmp_path).open()
    assert "restore the file from a backup" in raised.value.hint


def test_touching_the_state_changes_nothing(tmp_path: Path) -> None:
    async def scenario(door: Door) -> None:
        await with_backends(door, 1)

    world = World(tmp_path)
    run_in(world, scenario)
    store = SqliteStore(tmp_path)
    before = store.open()
    store.touch()
    store.touch()
    store.close()
    assert SqliteStore(tmp_path).open() == before
    assert WEB.key in before[0].vips
