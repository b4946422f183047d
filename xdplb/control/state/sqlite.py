# SPDX-License-Identifier: Apache-2.0
"""The state on disk: one SQLite file, one transaction per change, synced before it is acknowledged.

The file is held exclusively while it is open, so that two daemons cannot share a state directory. What was saved is
also kept in memory: if the file is removed, it is written again from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from xdplb.control.clock import ClockMark
from xdplb.control.state.acknowledged import Acknowledged
from xdplb.control.state.backup import Backup, copy_of, read_backup
from xdplb.control.state.certificate import Certificate
from xdplb.control.state.clock_row import read_mark, write_mark
from xdplb.control.state.copy_rows import past_after, read_past, write_past
from xdplb.control.state.files import Files, Finding
from xdplb.control.state.node_drain import NodeDrain, read_node_drain, write_node_drain
from xdplb.control.state.rows import (
    read_certificates,
    read_health,
    read_instance,
    read_state,
    write_certificates,
    write_change,
    write_health,
    write_instance,
)
from xdplb.control.state.schema import prepare
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.storage_errors import is_short_of_room, storage_errors
from xdplb.control.state.told import Told, read_told, write_told
from xdplb.control.state.transaction import transaction
from xdplb.dataplane.plane import Mark
from xdplb.model.backend import KnownHealth
from xdplb.model.errors import StateError

__all__ = ["SqliteStore"]

_PUT_BACK = (
    "put back what was there; or restart xdplb, which looks at what is there now and starts only if it belongs to the"
    " maps: before that, save what `xdplb vip ls -o json` and `xdplb backend ls -o json` show"
)


class SqliteStore:
    """A Store in `directory`, which is created if it does not exist."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "state.db"
        self.instance = 0
        """The id of the state, once it is open."""
        self._files = Files(self.path)
        self._acknowledged = Acknowledged(self._files.database)
        self._connection: sqlite3.Connection | None = None
        self._is_closed = True
        self._saved = Snapshot()
        self._health: dict[int, KnownHealth] = {}
        self._certificates: dict[int, Certificate] = {}
        self._clock: ClockMark | None = None
        self._past: dict[int, str] = {}
        self._node_drain: NodeDrain | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a file to open; otherwise `open` creates one."""
        return self.path.exists()

    def acknowledged(self) -> Mark | None:
        """Return the last generation that was acknowledged here, and of which instance; None if that is not known."""
        return self._acknowledged.read()

    def open(self) -> tuple[Snapshot, dict[int, KnownHealth]]:
        """Open or create the file and return its contents: the state, and the last known health by backend id.

        While it is open, this returns what was saved last, without reading it again.
        """
        if self._connection is not None:
            return self._saved, dict(self._health)
        with storage_errors(self.path, "cannot be opened"):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = self._connect()
        self._is_closed = False
        try:
            with storage_errors(self.path, "cannot be opened"):
                self.instance = read_instance(connection)
                self._saved, self._health = read_state(connection), read_health(connection)
                self._certificates = read_certificates(connection)
                self._clock, self._past = read_mark(connection), read_past(connection)
                self._node_drain = read_node_drain(connection)
        except BaseException:
            self.close()
            raise
        return self._saved, dict(self._health)

    def close(self) -> None:
        """Close the file, which releases it for other processes."""
        self._is_closed = True
        self._acknowledged.close()
        self._release()

    def save(
        self, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth], told: Told | None = None
    ) -> None:
        """Write the difference of two states, these healths, and the change's event: on disk then, or not at all."""
        text = "" if told is None else told.text()
        with self._transaction() as connection:
            write_change(connection, before, after, health)
            if told is not None:
                write_told(connection, told, text)
        self._past = past_after(self._past, before.copy, after.copy)
        self._saved = after
        self._health |= health
        self.acknowledge()

    def past(self) -> dict[int, str]:
        """Return the digests of the last states of the lineage that this is a copy of, by generation."""
        return dict(self._past)

    def told(self) -> list[str]:
        """Return the events of the last changes, as they were saved; some of them may be kept elsewhere."""
        assert self._connection is not None, "it is open"
        with storage_errors(self.path, "cannot be read"):
            return read_told(self._connection)

    def save_health(self, health: Mapping[int, KnownHealth]) -> None:
        """Write these healths, except those of backends that have been removed."""
        with self._transaction() as connection:
            known = {
                backend_id
                for backend_id in health
                if connection.execute("SELECT 1 FROM backend_binding WHERE id = ?", (backend_id,)).fetchone()
            }
            found = {key: value for key, value in health.items() if key in known}
            write_health(connection, found)
        self._health |= found

    def certificates(self) -> dict[int, Certificate]:
        """Return the certificate of the last drain of each backend that has had one, by backend id."""
        return dict(self._certificates)

    def save_certificates(self, certificates: Mapping[tuple[int, int], Certificate]) -> None:
        """Write these, by id and epoch, except those of backends that have been removed."""
        with self._transaction() as connection:
            found = {
                backend_id: certificate
                for (backend_id, epoch), certificate in certificates.items()
                if connection.execute(
                    "SELECT 1 FROM backend_binding WHERE id = ? AND epoch = ?", (backend_id, epoch)
                ).fetchone()
            }
            write_certificates(connection, found)
        self._certificates |= found

    def node_drain(self) -> NodeDrain | None:
        """Return the drain of this node that was saved last, None if it is not drained."""
        return self._node_drain

    def save_node_drain(self, drain: NodeDrain | None) -> None:
        """Write that this node drains, or that it does not."""
        with self._transaction() as connection:
            write_node_drain(connection, drain)
        self._node_drain = drain

    def acknowledge(self) -> None:
        """Note that what is saved now is all that there is to be."""
        self._acknowledged.write(Mark(self.instance, self._saved.generation))

    def replace(self, instance: int, state: Snapshot, health: Mapping[int, KnownHealth]) -> Path | None:
        """Put another state in the place of the one there; return where that lies now, None if there was none.

        The store must not be open, nor is it afterwards.
        """
        with storage_errors(self.path, "cannot be written"):
            self.instance, self._saved, self._health = instance, state, dict(health)
            self._certificates, self._node_drain = {}, None
            return self._put(self._stage())

    def stage_backup(self, file: Path) -> Backup:
        """Copy a backup to where it can be put in the place of the state, check it and return it; see `read_backup`."""
        with storage_errors(self.path, "cannot be written"):
            staged = self._files.staged()
        return read_backup(file, staged)

    def replace_with(
        self, backup: Backup, instance: int, state: Snapshot, health: Mapping[int, KnownHealth]
    ) -> Path | None:
        """Put a backup in the place of the state, as `replace` does, with `state` as what is asked for in it."""
        with storage_errors(self.path, "cannot be written"):
            self.instance, self._saved, self._health = instance, state, dict(health)
            self._certificates, self._node_drain = {}, None
            backup.rewrite(instance, state, health)
            return self._put(backup.staged)

    def copy(self) -> bytes:
        """Return a backup of all that is stored, as it is now."""
        assert self._connection is not None, "it is open"
        with storage_errors(self.path, "cannot be read"):
            return copy_of(self._connection)

    def _put(self, staged: Path) -> Path | None:
        """Give a file the place of the state; return where the one that was there lies now."""
        # At any time one of the two is in its place: a start that is killed here can be tried again.
        kept = self._kept() if self.exists else None
        self._files.place(staged, over=kept is not None)
        self.acknowledge()
        self.close()
        return kept

    def restore(self) -> str:
        """Write the state again if its files were removed; return what became of them, empty if they are in place.

        What another process has put in their place is never overwritten: that is a StateError.
        """
        finding = self._files.look()
        if self._is_closed or (finding is Finding.IN_PLACE and self._connection is not None):
            return ""
        if finding in {Finding.REPLACED, Finding.ELSEWHERE}:
            raise self._lost(finding)
        with storage_errors(self.path, f"{finding}, and cannot be written again"):
            try:
                self._files.place(self._stage(), over=finding is not Finding.REMOVED)
            except FileExistsError:
                raise self._lost(Finding.REPLACED) from None
        self._connect()
        self._acknowledged.close()  # its file may be gone, too
        self.acknowledge()
        return finding.value

    def clock_mark(self) -> ClockMark | None:
        """Return how the clock stood that gave the times in the file."""
        assert self._connection is not None, "it is open"
        with storage_errors(self.path, "cannot be read"):
            return read_mark(self._connection)

    def set_clock_mark(self, mark: ClockMark, moved: int) -> bool:
        """Write how the clock stands, and move all times by so many ns; return whether any has changed."""
        with self._transaction() as connection:
            changed = write_mark(connection, mark, moved)
        self._clock = mark
        return changed

    def is_in_doubt(self) -> bool:
        """Return whether the file may not be writable now, from a look at its file system; `touch` finds out."""
        return is_short_of_room(self.path.parent) or self._files.look() is not Finding.IN_PLACE

    def touch(self) -> None:
        """Write what is there already, to see that the file can be written."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO counter VALUES ('touched', 1) ON CONFLICT (name) DO UPDATE SET value = 1 - value"
            )

    def _connect(self) -> sqlite3.Connection:
        self._release()
        with storage_errors(self.path, "cannot be opened"):
            # It is opened in one thread and goes on in another, but is never used in both.
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=0, check_same_thread=False)
            try:
                prepare(connection, self.path)
            except BaseException:
                connection.close()
                raise
        self._files.opened()
        self._connection = connection
        return connection

    def _release(self) -> None:
        """Close the file. If it has no name any more, SQLite leaves alone what has its name now."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _stage(self) -> Path:
        """Write all that is saved into a new file beside the database, and return its path."""
        staged = self._files.staged()
        with closing(sqlite3.connect(staged, isolation_level=None)) as made:
            prepare(made, self.path)
            with transaction(made):
                write_instance(made, self.instance)
                if self._clock is not None:
                    write_mark(made, self._clock, 0)  # before there are times that it would move
                known = {backend.id for _, backend in self._saved.backends()}
                health = {key: value for key, value in self._health.items() if key in known}
                write_change(made, Snapshot(), self._saved, health)
                write_past(made, self._past)
                write_certificates(made, {key: each for key, each in self._certificates.items() if key in known})
                write_node_drain(made, self._node_drain)
        return staged

    def _kept(self) -> Path:
        """Bring what the log has into the database, and give that a name that it keeps when another replaces it."""
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=0)) as connection:
            try:
                prepare(connection, self.path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # it is damaged, and kept as it is
                pass
        return self._files.keep()

    def _lost(self, finding: Finding) -> StateError:
        if finding is Finding.ELSEWHERE:
            return StateError(f"the state in {self.path} cannot be written: it {finding}", hint="mount it again")
        return StateError(f"the state in {self.path} cannot be written: it {finding}", hint=_PUT_BACK)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        if self._is_closed or connection is None:
            raise StateError(f"the state in {self.path} is closed", hint="the daemon is stopping: start it again")
        if (finding := self._files.look()) is not Finding.IN_PLACE:
            raise self._lost(finding)
        with storage_errors(self.path, "cannot be written"):
            try:
                with transaction(connection):
                    yield connection
            finally:
                self._files.written()
