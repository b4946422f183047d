# SPDX-License-Identifier: Apache-2.0
"""The file that keeps events: a SQLite database of its own, beside the state.

It is not in the state's file: that is held exclusively and synced at every change, so every event would make a change
wait, and so would everyone who reads events. Here nobody waits for the disk: what was written outlives the process at
once, and a loss of power after the next sync, which comes within half a minute. Used by one thread at a time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from xdplb.control.history.kept_event import KeptEvent
from xdplb.control.history.wanted import Found, Page, Wanted
from xdplb.control.state.transaction import transaction

__all__ = ["HistoryFile"]

_VERSION = 1

_SCHEMA = (
    """CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL, level INTEGER NOT NULL,
        vip TEXT, backend TEXT, actor TEXT, body TEXT NOT NULL) STRICT""",
    "CREATE INDEX event_at ON event (at)",
    "CREATE INDEX event_change ON event (id) WHERE kind = 'change'",
    "CREATE INDEX event_other ON event (id) WHERE kind <> 'change'",
    """CREATE TABLE about (
        event INTEGER NOT NULL REFERENCES event ON DELETE CASCADE, vip TEXT NOT NULL, backend TEXT) STRICT""",
    "CREATE INDEX about_event ON about (event)",
    "CREATE INDEX about_vip ON about (vip)",
    "CREATE INDEX about_backend ON about (backend)",
    "CREATE TABLE gone (last INTEGER NOT NULL) STRICT",  # the highest id that is not kept any more, in one row
    "INSERT INTO gone VALUES (0)",
)

_USED = (
    "SELECT id, at, kind, level, vip, backend, actor, body FROM event LIMIT 0",
    "SELECT event, vip, backend FROM about LIMIT 0",
)
"""What must be in the file, or else another program has made it, or changed it."""

_MOST_BYTES = 256 << 20
"""However few the events are: some have kilobytes."""

_SPARED = 10
"""One in so many of the rows is for changes: a backend that flaps all night does not push out who changed what."""

_PARTS = ("", "-wal", "-shm")
"""How the names of its files end."""

_BUSY_SECONDS = 2.0
_CACHE_KIB = 1024
_LOG_BYTES = 4 << 20


class _Seen(NamedTuple):
    """What tells the file from another one, and whether there is anything in it."""

    device: int
    inode: int
    is_filled: bool


class HistoryFile:
    """The events in the file at `path`, None for one in memory. Its methods raise sqlite3.Error and OSError."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows = 0
        """How many events are kept."""
        self.latest = 0
        """The id of the last event, 0 if there was none."""
        self._gone = 0
        self._connection: sqlite3.Connection | None = None
        self._identity: _Seen | None = None

    def open(self) -> str:
        """Open or create the file, unless it is open; return why events that were kept are lost, empty if none is.

        If the file that was open was removed meanwhile, another one takes its place. One that cannot be read is put
        aside.
        """
        seen = self._seen()
        if self._connection is not None and self._identity == seen:
            return ""
        before, lost = self.rows, ""
        if self.path is not None and seen is not None and not seen.is_filled:
            self._remove(self.path)  # before it is closed, which would write a part of what was there into it
        self.close()
        if self.path is not None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if not (aside := self.put_aside(error)):
                raise
            self._open()
            lost = aside
        if not lost and self.rows < before:
            lost = f"{self.path} was removed, replaced or emptied while the daemon ran"
        return lost

    def put_aside(self, error: sqlite3.Error | OSError) -> str:
        """Give the file another name if the error says that it is damaged; return that as a sentence, else nothing."""
        if self.path is None or not _is_damaged(error):
            return ""
        self.close()
        return f"{self.path} could not be read ({error}); it is {self._put_aside(self.path)} now"

    @staticmethod
    def _put_aside(path: Path) -> Path:
        """Give the file another name, in place of the one that was put aside before it."""
        aside = path.with_name(f"{path.name}.damaged")
        for end in _PARTS:
            with suppress(FileNotFoundError):
                path.with_name(path.name + end).replace(aside.with_name(aside.name + end))
        return aside

    @staticmethod
    def _remove(path: Path) -> None:
        for end in _PARTS:
            path.with_name(path.name + end).unlink(missing_ok=True)

    def _open(self) -> None:
        name = ":memory:" if self.path is None else str(self.path)
        connection = sqlite3.connect(name, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
        self._connection = connection
        for setting in (
            "locking_mode = EXCLUSIVE",  # also without a file that is mapped: whoever cuts that would kill the daemon
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
            f"cache_size = -{_CACHE_KIB}",
            f"journal_size_limit = {_LOG_BYTES}",
        ):
            connection.execute(f"PRAGMA {setting}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise sqlite3.DatabaseError(f"{_NEWER} ({version})")
        try:
            with self._transaction():
                if version == 0:
                    for statement in _SCHEMA:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {_VERSION}")
                for query in _USED:
                    connection.execute(query)
                self._go_on()
        except (sqlite3.OperationalError, TypeError) as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) != sqlite3.SQLITE_ERROR:
                raise
            raise sqlite3.DatabaseError(f"{_FOREIGN}: {error}") from None
        self._identity = self._seen()

    def _go_on(self) -> None:
        """Find out what there is, and let the ids go on, at the present time in ms at least.

        So they grow also if the file was removed, was put back from a copy, or lost its end with the power.
        """
        assert self._connection is not None
        execute = self._connection.execute
        self.rows, oldest, latest = execute("SELECT count(*), min(id), max(id) FROM event").fetchone()
        begin = max(self.latest, latest or 0, time.time_ns() // 1_000_000)
        execute("DELETE FROM sqlite_sequence WHERE name = 'event'")
        execute("INSERT INTO sqlite_sequence VALUES ('event', ?)", (begin,))
        if oldest is None:
            execute("UPDATE gone SET last = ?", (begin,))
        self._gone = execute("SELECT last FROM gone").fetchone()[0]
        self.latest = latest or begin

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def append(self, events: Sequence[KeptEvent]) -> None:
        """Keep these: all of them when this returns, or none."""
        with self._transaction() as connection:
            about: list[tuple[int, str, str | None]] = []
            latest = self.latest
            for one in events:
                latest = self._insert(connection, one)
                about += ((latest, vip, backend) for vip, backend in one.about)
            connection.executemany("INSERT INTO about VALUES (?, ?, ?)", about)
        self.latest = latest
        self.rows += len(events)

    def append_missing(self, events: Iterable[KeptEvent]) -> int:
        """Keep those that are not kept yet; return how many these were."""
        missing = []
        with self._transaction() as connection:
            for one in events:
                same = connection.execute("SELECT 1 FROM event WHERE at = ? AND kind = ?", (one.at, one.kind))
                if same.fetchone() is None:
                    missing.append(one)
        if missing:
            self.append(missing)
        return len(missing)

    @staticmethod
    def _insert(connection: sqlite3.Connection, one: KeptEvent) -> int:
        values = (one.at, one.kind, one.level, one.vip, one.backend, one.actor, one.body)
        columns = "at, kind, level, vip, backend, actor, body"
        made = connection.execute(f"INSERT INTO event ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values).lastrowid  # noqa: S608
        assert made is not None
        return made

    def prune(self, rows: int, before: int, most: int) -> bool:
        """Delete up to `most` events that are more than `rows`, or older than `before` in ns since 1970.

        The oldest go, of changes as the last. They go, too, while the file has more than 256 MiB in use. Return
        whether there may be more.
        """
        excess, spared = self.rows - rows, rows // _SPARED
        if excess <= 0 and self._used() > _MOST_BYTES:
            excess, spared = max(1, self.rows // 100), 0
        older = "SELECT id FROM event WHERE at < ? ORDER BY at LIMIT ?"
        with self._transaction() as connection:
            found = set(self._oldest(connection, max(0, min(excess, most)), spared))
            found |= {number for (number,) in connection.execute(older, (before, most))}
            gone = max(self._gone, *found, 0)
            if found:
                connection.executemany("DELETE FROM event WHERE id = ?", ((number,) for number in found))
                connection.execute("UPDATE gone SET last = ?", (gone,))
        self._gone = gone
        self.rows -= len(found)
        return len(found) >= most

    @staticmethod
    def _oldest(connection: sqlite3.Connection, count: int, spared: int) -> list[int]:
        """Return the ids of the oldest events, without the last `spared` changes."""
        newest = "SELECT id FROM event WHERE kind = 'change' ORDER BY id DESC LIMIT 1 OFFSET ?"
        free = connection.execute(newest, (spared,)).fetchone()
        others = "SELECT id FROM event WHERE kind <> 'change' ORDER BY id LIMIT ?"
        changes = "SELECT id FROM event WHERE kind = 'change' AND id <= ? ORDER BY id LIMIT ?"
        found = connection.execute(others, (count,)).fetchall()
        found += connection.execute(changes, (0 if free is None else free[0], count)).fetchall()
        return sorted(number for (number,) in found)[:count]

    def sync(self) -> bool:
        """Bring what was written to the disk for good; return whether all of it is there."""
        if self._connection is None:
            raise sqlite3.OperationalError("the file is not open")
        busy, written, done = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and bool(written == done)

    def read(self, wanted: Wanted) -> Page:
        """Return the events that are wanted, in the order of their ids."""
        if self._connection is None:
            raise sqlite3.OperationalError("the file is not open")
        condition, values = wanted.conditions()
        order = "DESC" if wanted.newest_first else "ASC"
        rows = self._connection.execute(
            f"SELECT id, body FROM event WHERE {condition} ORDER BY id {order} LIMIT ?",  # noqa: S608
            (*values, wanted.limit + 1),
        ).fetchall()
        missed = wanted.after is not None and not wanted.newest_first and wanted.after < self._gone
        shown = tuple(Found(number, f'{{"id":{number},{body[1:]}') for number, body in rows[: wanted.limit])
        return Page(shown, len(rows) > wanted.limit, self.latest, missed)

    def last_kind(self, kinds: Sequence[str]) -> str | None:
        """Return the kind of the last event of one of these kinds."""
        if self._connection is None:
            return None
        among = ", ".join("?" * len(kinds))
        query = f"SELECT kind FROM event WHERE kind IN ({among}) ORDER BY id DESC LIMIT 1"  # noqa: S608
        found = self._connection.execute(query, tuple(kinds)).fetchone()
        return None if found is None else str(found[0])

    def _used(self) -> int:
        assert self._connection is not None
        size, pages, free = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        return int(size * (pages - free))

    def _seen(self) -> _Seen | None:
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return _Seen(found.st_dev, found.st_ino, found.st_size > 0)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        if connection is None:
            raise sqlite3.OperationalError("the file is not open")
        with transaction(connection):
            yield connection


_NEWER = "the events are of a newer xdplb"
_FOREIGN = "it has other tables than those of events"


def _is_damaged(error: sqlite3.Error | OSError) -> bool:
    """Return whether this file will never be readable for this version, in contrast to a disk that fails or is full."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the other bits say more about it
    return str(error).startswith((_NEWER, _FOREIGN)) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
