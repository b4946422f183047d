# SPDX-License-Identifier: Apache-2.0
"""The state is for root only, and is not taken from a place where others may put their own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.bystander import NOBODY
from xdplb.daemon.state_dir import shut_state_dir
from xdplb.model.errors import PlatformError

needs_another_user = pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")


def test_files_of_an_older_version_are_closed_to_others(tmp_path: Path) -> None:
    for name in ("state.db", "state.db-wal"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    shut_state_dir(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    shut_state_dir(tmp_path / "new" / "state")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    with pytest.raises(PlatformError, match=f"other users may write to {tmp_path}/state") as refusal:
        shut_state_dir(tmp_path / "state")
    assert refusal.value.hint.startswith(f"chmod go-w {tmp_path}/state")


def test_so_is_one_below_such_a_folder(tmp_path: Path) -> None:
    (tmp_path / "open" / "state").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PlatformError, match=f"other users may write to {tmp_path}/open"):
        shut_state_dir(tmp_path / "open" / "state")
    (tmp_path / "open").chmod(0o1777)
    shut_state_dir(tmp_path / "open" / "state")


@needs_another_user
@pytest.mark.parametrize("kind", ["folder", "symlink to it", "file"])
def test_what_another_user_made_is_refused(tmp_path: Path, kind: str) -> None:
    state = tmp_path / "state"
    if kind == "symlink to it":
        (tmp_path / "real").mkdir()
        state.symlink_to(tmp_path / "real")
    else:
        state.mkdir()
    theirs = state / "state.db" if kind == "file" else state
    if kind == "file":
        theirs.touch()
    os.chown(theirs, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(PlatformError, match=f"{theirs} belongs to user {NOBODY}"):
        shut_state_dir(state)


def test_symlinks_of_our_own_are_followed(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "lb.db").touch(mode=0o644)
    (tmp_path / "state").symlink_to(tmp_path / "volume")
    (tmp_path / "volume" / "state.db").symlink_to("lb.db")
    shut_state_dir(tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "volume" / "lb.db").stat().st_mode) == 0o600


def test_a_file_in_the_place_of_the_folder_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(PlatformError, match=f"{tmp_path}/state is not a folder"):
        shut_state_dir(tmp_path / "state")
