# SPDX-License-Identifier: Apache-2.0
"""The files of an open state: whether they are what the next start will find, and how another takes their place.

Another process may remove or replace them, and SQLite writes on into files that have no name any more. Nothing here
opens the database: a process that closes any descriptor of a file loses its locks on it.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

__all__ = ["Files", "Finding"]


class Finding(StrEnum):
    """What became of the files: the words are the end of a sentence that begins with the state's path."""

    IN_PLACE = "is in place"
    REMOVED = "was removed while xdplb ran"
    EMPTIED = "was emptied while xdplb ran"
    LOG_LOST = "lost its write-ahead log while xdplb ran"
    REPLACED = "was replaced or changed by another process while xdplb ran"
    ELSEWHERE = "is on another file system than when xdplb started: is its volume not mounted any more?"


class _Seen(NamedTuple):
    device: int
    inode: int
    size: int
    modified_ns: int


class Files:
    """The database at `path`, which may be a symbolic link, and its write-ahead log beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = Path(os.path.realpath(path))
        self._device: int | None = None
        self._database: _Seen | None = None
        self._log: _Seen | None = None

    @property
    def log(self) -> Path:
        """The write-ahead log."""
        return self.database.with_name(f"{self.database.name}-wal")

    def opened(self) -> None:
        """Note which files these are: they have just been opened, or put in their place."""
        self.database = Path(os.path.realpath(self.path))
        self._database, self._log = _seen(self.database), _seen(self.log)
        self._device = _device(self.database.parent)

    def written(self) -> None:
        """Note how the files are after a change, unless they are no longer the same ones."""
        self._database = _later(self._database, _seen(self.database))
        self._log = _later(self._log, _seen(self.log))

    def look(self) -> Finding:
        """Return what became of the files since they were noted."""
        present = _seen(self.path)
        if present == self._database:
            return Finding.IN_PLACE if _seen(self.log) == self._log else Finding.LOG_LOST
        if present is not None:
            return Finding.EMPTIED if self._is_emptied(present) else Finding.REPLACED
        return Finding.REMOVED if _device(self.path.parent) == self._device else Finding.ELSEWHERE

    def _is_emptied(self, present: _Seen) -> bool:
        """Return whether it is the same file without contents: there is nothing that somebody has put there."""
        before = self._database
        return present.size == 0 and before is not None and (before.device, before.inode) == present[:2]

    def staged(self) -> Path:
        """Return where to write a database that is to take the place of this one; nothing is left there."""
        self.database = Path(os.path.realpath(self.path))
        self.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = self.database.with_name(f"{self.database.name}-new")
        for path in (staged, staged.with_name(f"{staged.name}-wal")):
            path.unlink(missing_ok=True)
        return staged

    def keep(self) -> Path:
        """Give the database a second name that stays with it, and its log one beside it; return that."""
        number = 1
        while (kept := self.database.with_name(f"{self.database.name}.replaced-{number}")).exists():
            number += 1
        os.link(self.database, kept)
        if self.log.exists() and self.log.stat().st_size:
            os.link(self.log, kept.with_name(f"{kept.name}-wal"))
        return kept

    def place(self, staged: Path, *, over: bool) -> None:
        """Give a complete database its place, in one step; FileExistsError if something lies there, unless `over`.

        The log of the one that was there goes first: it would be applied to the new one.
        """
        _sync(staged)
        if over:
            self.log.unlink(missing_ok=True)
            staged.replace(self.database)
        else:
            os.link(staged, self.database)
            staged.unlink()
            self.log.unlink(missing_ok=True)
        _sync(self.database.parent)
        self.opened()


def _seen(path: Path) -> _Seen | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Seen(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _later(before: _Seen | None, now: _Seen | None) -> _Seen | None:
    """Return what a file is after a change; what is another file, or none, is not taken for it."""
    same = before is None or (now is not None and (now.device, now.inode) == (before.device, before.inode))
    return now if same else before


def _device(folder: Path) -> int:
    """Return the device of a folder, or of the next one above it that exists."""
    while True:
        try:
            return folder.stat().st_dev
        except OSError:
            if folder == folder.parent:
                raise
            folder = folder.parent


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
