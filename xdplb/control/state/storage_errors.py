# SPDX-License-Identifier: Apache-2.0
"""Errors of the file system under the state, as sentences with a remedy."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xdplb.model.errors import ConflictError, PlatformError, StateError

__all__ = ["is_short_of_room", "storage_errors"]

_KINDS = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_READONLY": errno.EROFS,
    "SQLITE_PERM": errno.EACCES,
    "SQLITE_AUTH": errno.EACCES,
    "SQLITE_NOMEM": errno.ENOMEM,
}


@contextmanager
def storage_errors(path: Path, what: str) -> Iterator[None]:
    """Turn errors of SQLite and of the file system about the file at `path` into StateError and ConflictError.

    `what` is what was not possible, such as `cannot be written`.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise ConflictError(
                f"the state in {path} is held by another xdplb", hint="stop it, or use another --state-dir"
            ) from error
        raise _state_error(path, what, _errno(error, path), str(error)) from error
    except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"the state in {path} is damaged: {error}",
            hint="restore the file from a backup, or move it away: xdplb then starts without VIPs or, if maps carry"
            " traffic, with --adopt-maps from what those hold",
        ) from error
    except OSError as error:
        raise _state_error(path, what, error.errno or 0, error.strerror or str(error)) from error


def is_short_of_room(folder: Path) -> bool:
    """Return whether nothing may be writable in `folder`: its file system is full or read-only, or it is gone."""
    try:
        return _shortage(folder) != 0
    except OSError:
        return True


def _shortage(folder: Path) -> int:
    """Return the errno of a write to a file system that is read-only or full, 0 if it is neither. Raises OSError."""
    found = os.statvfs(folder)
    if found.f_flag & os.ST_RDONLY:
        return errno.EROFS
    return 0 if found.f_bfree else errno.ENOSPC


def _errno(error: sqlite3.OperationalError, path: Path) -> int:
    """Return the errno that is behind an error of SQLite, which tells only a few of them apart."""
    name = error.sqlite_errorname
    for kind, number in _KINDS.items():
        if name.startswith(kind):
            return number
    folder = path.parent
    if path.is_dir():
        return errno.EISDIR
    if not folder.exists():
        return errno.ENOENT
    # For SQLite a file that cannot be made in a full, read-only or foreign folder is an I/O error.
    with suppress(OSError):
        if shortage := _shortage(folder):
            return shortage
    if not os.access(folder, os.W_OK):
        return errno.EACCES
    return errno.EIO if name.startswith("SQLITE_IOERR") else 0


def _state_error(path: Path, what: str, number: int, told: str) -> PlatformError:
    folder = path.parent
    foreign = (
        f"this user (uid {os.geteuid()}) may not use it",
        f"look at who owns it: ls -ld {folder} {path}; or use another --state-dir",
    )
    no_folder = (f"{folder} is not a folder", "use another --state-dir")
    why, hint = {
        errno.ENOSPC: ("its file system is full", f"make room on it: df {folder}"),
        errno.EDQUOT: ("the quota of its owner is used up", f"make room on it: df {folder}"),
        errno.EROFS: (
            "its file system, or the file, is read-only",
            f"make it writable (mount -o remount,rw; ls -l {folder}), or use another --state-dir",
        ),
        errno.EACCES: foreign,
        errno.EPERM: foreign,
        errno.ENOTDIR: no_folder,
        errno.EEXIST: no_folder,
        errno.EISDIR: ("it is a folder", f"move it away: {path} is where the file of the state belongs"),
        errno.ENOENT: (f"{folder} was removed", "make it again, or use another --state-dir"),
        errno.EIO: ("the disk reports an error", "look at dmesg; restore the file from a backup on another disk"),
        errno.ENOMEM: ("there is not enough memory", "free some"),
    }.get(number, (told, "check that its file system has room and is writable for this user"))
    return StateError(f"the state in {path} {what}: {why}", hint=hint)
