# SPDX-License-Identifier: Apache-2.0
"""Files that are written as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xdplb.placed_file import place


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    place(file, b"old", mode=0o640, overwrite=False)
    with pytest.raises(FileExistsError):
        place(file, b"new", mode=None, overwrite=False)
    assert file.read_bytes() == b"old"
    place(file, b"new", mode=0o600, overwrite=True)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_without_a_mode_the_umask_says_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        place(tmp_path / "file", b"", mode=None, overwrite=False)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["pipe", "link", "folder"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="it is no regular file"):
        place(tmp_path / name, b"new", mode=0o600, overwrite=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "link", "pipe"]
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()
