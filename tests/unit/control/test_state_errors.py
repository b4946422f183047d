# SPDX-License-Identifier: Apache-2.0
"""A state that cannot be written: a sentence with a remedy, an event, not ready, and ready again when it can."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run_in, with_backends
from xdplb.control.events import Event, StateNotWritable, StateRestored, StateWritable
from xdplb.control.state.sqlite import SqliteStore
from xdplb.control.writing import saver
from xdplb.model.errors import ConflictError, StateError

root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver, "_LOOK_SECONDS", 0.1)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)  # unless the test has done it


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


def taken_away(folder: Path, what: str) -> None:
    """Remove or damage what is stored, as somebody might."""
    actions: dict[str, Callable[[], object]] = {
        "file": (folder / "state.db").unlink,
        "file emptied": lambda: (folder / "state.db").write_bytes(b""),
        "log": (folder / "state.db-wal").unlink,
        "log cut": lambda: os.truncate(folder / "state.db-wal", (folder / "state.db-wal").stat().st_size // 2),
        "log emptied": lambda: (folder / "state.db-wal").write_bytes(b""),
        "both": lambda: shutil.move(folder / "state.db", (folder / "state.db-wal").replace(folder / "log")),
        "folder": lambda: shutil.rmtree(folder),
        "folder renamed": lambda: folder.rename(folder.with_name("elsewhere")),
        "file renamed": lambda: (folder / "state.db").rename(folder / "aside"),
    }
    actions[what]()


TAKEN = ["file", "file emptied", "log", "log cut", "log emptied", "both", "folder", "folder renamed", "file renamed"]


@pytest.mark.parametrize("what", TAKEN)
@pytest.mark.parametrize("at_once", [False, True], ids=["without a change", "with the next change"])
def test_what_is_taken_away_is_written_again_and_nothing_acknowledged_is_lost(
    tmp_path: Path, what: str, at_once: bool
) -> None:
    folder = tmp_path / "state"
    told: list[Event] = []
    kept: list[str] = []

    async def scenario(door: Door) -> None:
        door.manager.events.listen(told.append)
        await with_backends(door, 1, 2)
        taken_away(folder, what)
        if at_once:
            await door.create_backend("web", backend(3))
        await until(lambda: any(isinstance(event, StateRestored) for event in told))
        assert door.not_ready() == []
        await door.create_backend("web", backend(4))
        kept.extend(str(view.backend.address) for view in door.backends("web"))
        # what a kill -9 now would leave, since stopping would write what is missing
        shutil.copytree(folder, tmp_path / "found")

    run_in(World(folder), scenario)
    assert [type(event) for event in told].count(StateRestored) == 1
    assert not any(isinstance(event, StateNotWritable) for event in told)
    for place in (folder, tmp_path / "found"):
        state, _ = SqliteStore(place).open()
        assert [str(address) for address in state.vips[WEB.key].backends] == kept


@pytest.mark.parametrize("what", TAKEN)
def test_what_is_taken_away_just_before_the_end_is_there_for_the_next_start(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "state"

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        taken_away(folder, what)

    run_in(World(folder), scenario)
    state, _ = SqliteStore(folder).open()
    assert state.generation == 3


@pytest.mark.parametrize("how", ["another file", "a copy", "written in place", "a folder"])
def test_what_lies_in_its_place_is_left_alone_and_changes_are_refused(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "state"

    async def scenario(door: Door) -> None:
        await with_backends(door, 1)
        file, aside = folder / "state.db", tmp_path / "aside"
        content = file.read_bytes()
        if how != "written in place":
            file.rename(aside)
        if how == "a folder":
            file.mkdir()
        else:
            file.write_bytes(content if how == "a copy" else b"nonsense")
        before = None if how == "a folder" else file.read_bytes()
        await until(lambda: door.not_ready() != [])
        with pytest.raises(StateError, match="was replaced or changed by another process while xdplb ran") as raised:
            await door.create_backend("web", backend(2))
        assert "put back what was there" in str(raised.value.hint)
        assert door.not_ready() == [f"changes are refused: {raised.value}"]
        assert before is None or file.read_bytes() == before
        if how in {"another file", "a copy"}:
            aside.rename(file)
            await until(lambda: door.not_ready() == [])
            await door.create_backend("web", backend(2))

    run_in(World(folder), scenario)


@root
def test_a_volume_that_is_gone_is_not_written_beside(small: Path) -> None:
    def unmount() -> None:
        subprocess.run(["umount", "--lazy", small], check=True)

    async def scenario(door: Door) -> None:
        await with_backends(door, 1)
        unmount()
        await until(lambda: door.not_ready() != [])
        with pytest.raises(StateError, match="is its volume not mounted any more"):
            await door.create_backend("web", backend(2))

    run_in(World(small / "state"), scenario)
    assert list(small.iterdir()) == []


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
    assert "--adopt-maps" in raised.value.hint


def test_a_folder_in_the_place_of_the_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StateError, match=r"cannot be opened: it is a folder \(move it away: ") as raised:
        SqliteStore(tmp_path).open()
    assert str(tmp_path / "state.db") in raised.value.hint


def test_a_state_without_an_instance_is_damaged_in_plain_words(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    store.close()
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    connection.execute("DELETE FROM counter WHERE name = 'instance'")
    connection.close()
    with pytest.raises(StateError, match="is damaged: it has no instance id"):
        SqliteStore(tmp_path).open()


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


@root
def test_no_room_for_what_a_start_writes_is_called_so(small: Path) -> None:
    store = SqliteStore(small / "state")
    store.open()
    store.close()
    with sqlite3.connect(small / "state" / "state.db") as connection:
        connection.execute("DELETE FROM counter")
        connection.execute("ALTER TABLE desired_vip RENAME COLUMN checks TO health_check")
        tables = "clock", "told", "declared_backend", "config", "drain_certificate", "node_drain"
        for table in (*tables, "store_copy", "store_odd", "store_pending", "store_past"):
            connection.execute(f"DROP TABLE {table}")
        for column in ("was_up", "advice"):
            connection.execute(f"ALTER TABLE health DROP COLUMN {column}")
        for column in ("drain_cut", "drain_id"):
            connection.execute(f"ALTER TABLE desired_backend DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    fill(small / "filler")
    for folder in ("state", "new"):
        with pytest.raises(StateError, match="cannot be opened: its file system is full") as raised:
            SqliteStore(small / folder).open()
        assert "make room on it" in raised.value.hint
    (small / "filler").unlink()
    SqliteStore(small / "state").open()
