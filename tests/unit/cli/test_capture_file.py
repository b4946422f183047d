# SPDX-License-Identifier: Apache-2.0
"""The file of a capture is for its owner only, and nothing surprising is overwritten."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bystander import NOBODY
from xdplb.cli.capture_file import open_capture
from xdplb.model.errors import ConflictError

PCAPNG = b"\x0a\x0d\x0d\x0a rest"


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """Return a folder where others may write, as /tmp is."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def write(path: Path) -> None:
    with os.fdopen(open_capture(path), "wb") as file:
        file.write(PCAPNG)


def test_a_new_file_is_for_its_owner(tmp_path: Path, open_folder: Path) -> None:
    for path in (tmp_path / "a.pcapng", open_folder / "a.pcapng"):
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_old_capture_is_overwritten_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    path.write_bytes(PCAPNG * 10)
    write(path)
    assert path.read_bytes() == PCAPNG
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_no_capture_stays(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text("root:x:0:0")
    with pytest.raises(ConflictError, match="exists and is no capture"):
        write(path)
    assert path.read_text() == "root:x:0:0"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_symlink_is_followed_only_where_nobody_else_can_make_one(tmp_path: Path, open_folder: Path) -> None:
    target = tmp_path / "target.pcapng"
    target.write_bytes(PCAPNG * 10)
    (open_folder / "a.pcapng").symlink_to(target)
    with pytest.raises(ConflictError, match="is a symlink in a folder where other users may write"):
        write(open_folder / "a.pcapng")
    assert target.read_bytes() == PCAPNG * 10
    (tmp_path / "b.pcapng").symlink_to(target)
    write(tmp_path / "b.pcapng")
    assert target.read_bytes() == PCAPNG


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_file_that_another_user_has_put_there_is_not_written(open_folder: Path) -> None:
    path = open_folder / "a.pcapng"
    path.touch()
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises((ConflictError, PermissionError)):  # the latter from the kernel: fs.protected_regular
        write(path)
    assert path.read_bytes() == b""


def test_a_hard_link_is_not_followed_either(tmp_path: Path, open_folder: Path) -> None:
    target = tmp_path / "target.pcapng"
    target.write_bytes(PCAPNG * 10)
    (open_folder / "a.pcapng").hardlink_to(target)
    with pytest.raises(ConflictError):
        write(open_folder / "a.pcapng")
    assert target.read_bytes() == PCAPNG * 10


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o666)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write(path)
    assert os.read(reader, 100) == PCAPNG
    os.close(reader)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
