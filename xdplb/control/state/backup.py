# SPDX-License-Identifier: Apache-2.0
"""A backup of the state: a copy of the state file, as it was at one moment. It is checked whole before it is used.

A backup may come from anywhere. So it is copied first, and what is read, migrated and put in the state's place is the
copy; and a file with anything in it but tables of a state is refused, since SQL that is stored in it would be run.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from xdplb.control.state.copy_rows import forget_copy
from xdplb.control.state.rows import read_instance, read_state, write_change, write_instance
from xdplb.control.state.schema import SCHEMA_VERSION, prepare
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.transaction import transaction
from xdplb.model.backend import KnownHealth
from xdplb.model.errors import InvalidError, PlatformError

__all__ = ["Backup", "copy_of", "read_backup"]

_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. `staged` is a copy of the file, of the present schema, which nobody else uses."""

    path: Path
    staged: Path
    instance: int
    snapshot: Snapshot

    def rewrite(self, instance: int, state: Snapshot, health: Mapping[int, KnownHealth]) -> None:
        """Make the copy that of this state; whatever else a state file keeps stays as it was backed up."""
        with closing(sqlite3.connect(self.staged, isolation_level=None)) as connection:
            prepare(connection, self.staged)
            with transaction(connection):
                # Ids may have been given to others since, what changes tell of was of other changes, and a drain is of
                # the node that was backed up, then.
                gone = ("desired_vip", "epoch", "told", "node_drain")
                for statement in (f"DELETE FROM {table}" for table in gone):  # noqa: S608 - these four
                    connection.execute(statement)
                forget_copy(connection)
                write_instance(connection, instance)
                write_change(connection, Snapshot(), state, health)

    def discard(self) -> None:
        """Remove the copy, if it has not been put in the place of the state."""
        _remove(self.staged)


def _remove(staged: Path) -> None:
    for left in (staged, staged.with_name(f"{staged.name}-wal")):
        left.unlink(missing_ok=True)


def copy_of(connection: sqlite3.Connection) -> bytes:
    """Return the file that a backup is, of an open state."""
    return connection.serialize()


def read_backup(path: Path, staged: Path) -> Backup:
    """Copy the backup at `path` to `staged`, which must not exist, check it whole, and return what it holds.

    InvalidError if it is no backup or damaged, ConflictError if a newer xdplb made it. Nothing is left then.
    """
    try:
        with _reasons(path):
            _copy(path, staged)
            with closing(sqlite3.connect(staged, isolation_level=None)) as connection:
                _check(connection, path)
                prepare(connection, path)
                instance, snapshot = read_instance(connection), read_state(connection)
    except BaseException:
        _remove(staged)
        raise
    return Backup(path, staged, instance, snapshot)


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Turn what is wrong with the file into an error that names it."""
    try:
        yield
    except OSError as error:
        raise PlatformError(f"the backup {path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from None
    except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(path, f"it is damaged ({error})") from error


def _copy(path: Path, staged: Path) -> None:
    if not path.is_file():
        raise _refused(path, "there is no such file" if not path.exists() else "it is no file")
    with path.open("rb") as source, staged.open("xb") as target:
        staged.chmod(0o600)
        if source.read(len(_MAGIC)) != _MAGIC:
            raise _refused(path, "it is no SQLite database")
        source.seek(0)
        shutil.copyfileobj(source, target)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise an error unless it is a whole state of this or an earlier version, and nothing else."""
    connection.execute("PRAGMA trusted_schema = OFF")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {(kind, name) for kind, name in connection.execute("SELECT type, name FROM sqlite_master")}
    if version < 1 or ("table", "counter") not in tables:
        raise _refused(path, "it is the database of something else")
    if version > SCHEMA_VERSION:
        return  # and `prepare` says so
    if odd := sorted(name for kind, name in tables if kind not in {"table", "index"}):
        raise _refused(path, f"it has {odd[0]} in it, which no state has")
    if (said := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
        raise _refused(path, f"it is damaged ({said})")
    if broken := connection.execute("PRAGMA foreign_key_check").fetchone():
        raise _refused(path, f"it is damaged (a row of {broken[0]} refers to nothing)")


def _refused(path: Path, why: str) -> InvalidError:
    return InvalidError(
        f"{path} is no backup that can be restored: {why}", hint="give a file that `xdplb backup` has written"
    )
