# SPDX-License-Identifier: Apache-2.0
"""A start with a backup: what it takes the place of, what goes on, and what is refused with nothing changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, with_backends
from xdplb.balance.slots import unpack
from xdplb.control.state.schema import SCHEMA_VERSION
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.daemon.options import ApiOptions, DaemonOptions
from xdplb.daemon.start import state_at_start
from xdplb.model.errors import CapacityError, ConflictError, InvalidError, XdplbError


class Host:
    """A world whose daemon starts as `xdplb up --restore` does."""

    def __init__(self, folder: Path) -> None:
        self.state, self.backup = folder / "state", folder / "xdplb.backup"
        self.world = World(self.state)

    def start(self, *, replace_state: bool = False, booted: bool = False, restore: bool = True) -> Snapshot:
        options = DaemonOptions(
            ("eth0",),
            "auto",
            ApiOptions(()),
            self.state,
            Path("/pins"),
            restore=self.backup if restore else None,
            replaces_state=replace_state,
        )
        with closing(SqliteStore(self.state)) as store:
            return state_at_start(options, store, None if booted else self.world.plane)

    def run(self, scenario: Callable[[Door], Awaitable[object]]) -> None:
        async def inner() -> None:
            async with self.world.running() as door:
                await scenario(door)

        asyncio.run(inner())

    def back_up(self) -> None:
        with closing(SqliteStore(self.state)) as store:
            store.open()
            self.backup.write_bytes(store.copy())

    def files(self) -> dict[str, bytes]:
        """Return what is in the state dir; a log without contents counts as none."""
        found = sorted(self.state.iterdir()) if self.state.exists() else []
        return {path.name: path.read_bytes() for path in found if path.stat().st_size}

    def refused(self, error: type[XdplbError], *, replace_state: bool = False) -> str:
        """Return the sentence of a start that is refused, and has changed nothing."""
        before, writes = self.files(), self.world.writes()
        with pytest.raises(error) as raised:
            self.start(replace_state=replace_state)
        assert self.files() == before
        assert self.world.writes() == writes
        return str(raised.value)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that balances web on two backends, and a backup of that; then 10.0.0.2 was replaced by 10.0.0.3."""
    made = Host(tmp_path)
    made.run(lambda door: with_backends(door, 1, 2))
    made.back_up()

    async def change(door: Door) -> None:
        await door.delete_backend("web", "10.0.0.2")
        await door.create_backend("web", backend(3))

    made.run(change)
    return made


def addresses(state: Snapshot) -> list[str]:
    return sorted(str(bound.backend.address) for _, bound in state.backends())


async def nothing(_: Door) -> None:
    pass


def test_over_a_state_with_vips_it_must_be_told_to_and_keeps_that_beside(host: Host) -> None:
    said = host.refused(ConflictError)
    assert "--restore would replace the state" in said
    assert "it has 1 VIPs, of generation 5" in said
    before = host.start(restore=False)
    state = host.start(replace_state=True)
    assert addresses(state) == ["10.0.0.1", "10.0.0.2"]
    assert state.generation == before.generation + 1
    assert (host.state / "state.db.replaced-1").exists()
    assert host.start(restore=False) == state


def test_what_stays_keeps_its_id_and_its_slots_and_what_is_new_is_another(host: Host) -> None:
    before, table = host.start(restore=False), host.world.table()
    ids = {str(bound.backend.address): (bound.id, bound.epoch) for _, bound in before.backends()}
    state = host.start(replace_state=True)
    after = {str(bound.backend.address): (bound.id, bound.epoch) for _, bound in state.backends()}
    assert after["10.0.0.1"] == ids["10.0.0.1"]
    assert after["10.0.0.2"] not in ids.values()
    host.run(nothing)
    first = ids["10.0.0.1"][0]
    was, (owners, previous) = unpack(table)[0] == first, unpack(host.world.table())
    assert np.all((owners[was] == first) | (previous[was] == first)), "no connection to it is lost"


def test_a_lost_state_over_maps_in_use_goes_on_with_their_ids(host: Host) -> None:
    ids = {str(bound.backend.address): bound.id for _, bound in host.start(restore=False).backends()}
    mark = host.world.plane.read_mark()
    assert mark is not None
    shutil.rmtree(host.state)
    state = host.start()
    assert addresses(state) == ["10.0.0.1", "10.0.0.2"]
    assert {str(bound.backend.address): bound.id for _, bound in state.backends()}["10.0.0.1"] == ids["10.0.0.1"]
    assert state.generation > mark.generation
    assert state.vips[WEB.key].vip.name == "web"
    host.run(nothing)  # and the start after it finds that state and maps belong together
    assert host.start(restore=False).generation == state.generation


def test_after_a_boot_and_on_another_host_it_is_a_state_of_its_own(host: Host) -> None:
    with closing(sqlite3.connect(host.backup)) as made:
        (instance,) = made.execute("SELECT value FROM counter WHERE name = 'instance'").fetchone()
    shutil.rmtree(host.state)
    assert addresses(host.start(booted=True)) == ["10.0.0.1", "10.0.0.2"]
    with closing(SqliteStore(host.state)) as store:
        store.open()
        assert store.instance != instance


def test_a_second_time_it_is_not_needed(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    state = host.start(replace_state=True)
    assert host.start() == state
    assert "--restore was not needed" in caplog.text
    assert not (host.state / "state.db.replaced-2").exists()


def test_a_damaged_state_is_replaced_if_told_to_and_kept(host: Host) -> None:
    content = b"SQLite format 3\0" + b"garbage" * 1000
    (host.state / "state.db").write_bytes(content)
    assert "damaged" in host.refused(ConflictError)
    assert addresses(host.start(replace_state=True)) == ["10.0.0.1", "10.0.0.2"]
    assert (host.state / "state.db.replaced-1").read_bytes() == content


def test_one_that_does_not_fit_changes_nothing(host: Host) -> None:
    host.world.plane._capacity = replace(host.world.plane.capacity, backends=1)
    host.refused(CapacityError, replace_state=True)


def sql(*statements: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with closing(sqlite3.connect(path)) as made:
            for statement in statements:
                made.execute(statement)
            made.commit()
            made.execute("PRAGMA journal_mode = DELETE")

    return spoil


def write(content: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.write_bytes(content)

    return spoil


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def other_database(path: Path) -> None:
    path.unlink()
    sql("CREATE TABLE cookies (name TEXT)")(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "there is no such file"),
        (write(b""), "it is no SQLite database"),
        (write(b"PK\3\4 not a state"), "it is no SQLite database"),
        (write(b"SQLite format 3\0" + bytes(8000)), "it is damaged"),
        (cut, "it is damaged"),
        (other_database, "it is the database of something else"),
        (sql("PRAGMA user_version = 0"), "it is the database of something else"),
        (sql("UPDATE desired_vip SET spec = '{\"forward\": 7}'"), "it is damaged"),
        (sql("UPDATE desired_vip SET vip = 'nonsense'"), "it is damaged"),
        (sql("UPDATE desired_backend SET spec = '[]'"), "it is damaged"),
        (sql("DELETE FROM counter"), "it is damaged"),
        (sql("DELETE FROM desired_vip"), "it is damaged (a row of"),
        (
            sql("CREATE TRIGGER evil AFTER INSERT ON counter BEGIN DELETE FROM desired_vip; END"),
            "it has evil in it, which no state has",
        ),
        (sql("CREATE VIEW evil AS SELECT 1"), "it has evil in it, which no state has"),
    ],
)
def test_what_is_no_whole_backup_is_refused_and_nothing_changes(
    host: Host, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(host.backup)
    assert said in host.refused(InvalidError, replace_state=True)


def test_one_of_a_newer_version_is_refused(host: Host) -> None:
    sql(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")(host.backup)
    assert "written by a newer xdplb" in host.refused(ConflictError, replace_state=True)


def test_the_backup_itself_is_never_written(host: Host) -> None:
    host.backup.chmod(0o400)
    before = host.backup.read_bytes()
    host.start(replace_state=True)
    assert host.backup.read_bytes() == before
    assert sorted(path.name for path in host.backup.parent.iterdir()) == ["state", "xdplb.backup"]


def start_and_kill(host: Host, steps: int) -> bool:
    """Start in another process, which is killed before its step of this number; return whether it was."""
    child = os.fork()
    if child == 0:
        left = steps

        def counting(function: Callable[..., Any]) -> Callable[..., Any]:
            def inner(*given: Any, **named: Any) -> Any:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return function(*given, **named)

            return inner

        for owner, name in ((os, "link"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (os, "pwrite")):
            setattr(owner, name, counting(getattr(owner, name)))
        host.start(replace_state=True, booted=True)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_any_moment_it_is_the_old_state_or_the_new_one(host: Host, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    shutil.copytree(host.state, saved)
    seen, steps = set(), 0
    while True:
        shutil.rmtree(host.state)
        shutil.copytree(saved, host.state)
        was_killed = start_and_kill(host, steps)
        seen.add(tuple(addresses(host.start(restore=False, booted=True))))
        assert addresses(host.start(replace_state=True, booted=True)) == ["10.0.0.1", "10.0.0.2"]
        if not was_killed:
            break
        steps += 1
    assert steps > 5
    assert seen == {("10.0.0.1", "10.0.0.3"), ("10.0.0.1", "10.0.0.2")}
