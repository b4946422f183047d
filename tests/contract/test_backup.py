# SPDX-License-Identifier: Apache-2.0
"""A backup of a daemon that runs, and of one that does not: a private file that is whole, or none."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from xdplb.control.state.sqlite import SqliteStore

from .cli_harness import WEB, Daemon, in_process, running_daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("backup")) as running:
        running.ok("vip", "add", WEB, "--name", "web", "--check", "tcp")
        running.ok("backend", "add", WEB, "10.0.0.11")
        yield running


def vips_in(file: Path) -> list[str]:
    """Return the VIPs in a backup, which must be whole."""
    with closing(sqlite3.connect(f"file:{file}?immutable=1", uri=True)) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [vip for (vip,) in found.execute("SELECT vip FROM desired_vip")]


def test_it_is_whole_and_private_and_the_daemon_goes_on(daemon: Daemon, tmp_path: Path):
    before = os.umask(0)
    try:
        told = daemon.ok("backup", str(tmp_path / "one"))
    finally:
        os.umask(before)
    assert f"wrote {tmp_path / 'one'}" in told.stderr
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert vips_in(tmp_path / "one") == [WEB]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    daemon.ok("backend", "add", WEB, "10.0.0.12")
    daemon.ok("backend", "rm", WEB, "10.0.0.12")


def test_what_exists_is_overwritten_only_if_told_to(daemon: Daemon, tmp_path: Path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("mine", "link"):
        told = daemon.run("backup", str(tmp_path / name))
        assert (told.returncode, told.stdout) == (4, "")
        assert f"{tmp_path / name} exists" in told.stderr
    daemon.ok("backup", "--force", str(tmp_path / "link"))
    assert (tmp_path / "mine").read_text() == "precious"
    assert vips_in(tmp_path / "link") == [WEB]


@pytest.mark.parametrize("name", ["none/backup", "folder"])
def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(daemon: Daemon, tmp_path: Path, name: str):
    (tmp_path / "folder").mkdir()
    told = daemon.run("backup", "--force", str(tmp_path / name))
    assert told.returncode == 1
    assert f"cannot write {tmp_path / name}" in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_api_has_it_for_no_cache(daemon: Daemon, tmp_path: Path):
    (tmp_path / "by-api").write_bytes(daemon.get("/v1/backup"))
    assert vips_in(tmp_path / "by-api") == [WEB]


def test_the_files_of_a_daemon_that_runs_are_left_to_it(daemon: Daemon, tmp_path: Path):
    told = in_process("backup", "--state-dir", str(daemon.folder / "state"), str(tmp_path / "two"))
    assert told.returncode == 4
    assert "is held by another xdplb" in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_daemon_it_is_read_from_the_state_dir(tmp_path: Path):
    with closing(SqliteStore(tmp_path / "state")) as store:
        store.open()
    told = in_process("--socket", str(tmp_path / "none.sock"), "backup", str(tmp_path / "three"))
    assert told.returncode == 3
    told = in_process("backup", "--state-dir", str(tmp_path / "state"), str(tmp_path / "three"))
    assert told.returncode == 0, told.stderr
    assert vips_in(tmp_path / "three") == []
    told = in_process("backup", "--state-dir", str(tmp_path / "elsewhere"), str(tmp_path / "four"))
    assert told.returncode == 1
    assert "there is no state in" in told.stderr
    assert not (tmp_path / "elsewhere").exists()
