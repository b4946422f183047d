"""The state on disk: one SQLite file, one transaction per change, synced before it is acknowledged.

The file is held exclusively while it is open, so that two daemons cannot share a state directory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from xdplb.control.clock import ClockMark
from xdplb.control.state.bindings import BackendBinding, Bindings, VipBinding
from xdplb.control.state.clock_row import read_mark, write_mark
from xdplb.control.state.codec import (
    backend_from_json,
    backend_to_json,
    check_from_json,
    check_to_json,
    pack_access,
    unpack_access,
    vip_from_json,
    vip_to_json,
)
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredBackend, DesiredVip, Drain
from xdplb.control.state.differing import differing
from xdplb.control.state.generations import Generations, VipGenerations
from xdplb.control.state.schema import prepare
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.control.state.storage_errors import is_short_of_room, storage_errors
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.errors import StateError
from xdplb.model.vip import VipKey

__all__ = ["SqliteStore"]


class SqliteStore:
    """A Store in `directory`, which is created if it does not exist."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "state.db"
        self._connection: sqlite3.Connection | None = None
        self._files: dict[Path, tuple[int, int]] = {}
        """Device and inode of what is open: another process may remove or replace it, and SQLite writes on."""

    def open(self) -> tuple[Snapshot, dict[int, KnownHealth]]:
        """Open or create the file and return its contents: the state, and the last known health by backend id."""
        with storage_errors(self.path, "cannot be opened"):
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        self._connection = connection
        try:
            with storage_errors(self.path, "cannot be opened"):
                prepare(connection, self.path)
                self._files = {path: found for path in self._paths() if (found := _identity(path)) is not None}
                return _read_state(connection), _read_health(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file, which releases it for other processes."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def save(self, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth]) -> None:
        """Write the difference of two states, and these healths: on disk when this returns, or not at all."""
        with self._transaction() as connection:
            _delete_gone(connection, before, after)
            for key in differing(before.vips, after.vips).present:
                _write_vip(connection, before.vips.get(key), after.vips[key])
            _write_epochs(connection, before.bindings, after.bindings)
            connection.execute("INSERT OR REPLACE INTO counter VALUES ('generation', ?)", (after.generation,))
            _write_health(connection, health)

    def save_health(self, health: Mapping[int, KnownHealth]) -> None:
        """Write these healths, except those of backends that have been removed."""
        with self._transaction() as connection:
            known = {
                backend_id
                for backend_id in health
                if connection.execute("SELECT 1 FROM backend_binding WHERE id = ?", (backend_id,)).fetchone()
            }
            _write_health(connection, {key: value for key, value in health.items() if key in known})

    def clock_mark(self) -> ClockMark | None:
        """Return how the clock stood that gave the times in the file."""
        assert self._connection is not None, "it is open"
        with storage_errors(self.path, "cannot be read"):
            return read_mark(self._connection)

    def set_clock_mark(self, mark: ClockMark, moved: int) -> bool:
        """Write how the clock stands, and move all times by so many ns; return whether any has changed."""
        with self._transaction() as connection:
            return write_mark(connection, mark, moved)

    def is_in_doubt(self) -> bool:
        """Return whether the file may not be writable now, from a look at its file system; `touch` finds out."""
        return is_short_of_room(self.path.parent) or not self._is_in_place()

    def touch(self) -> None:
        """Write what is there already, to see that the file can be written."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO counter VALUES ('touched', 1) ON CONFLICT (name) DO UPDATE SET value = 1 - value"
            )

    def _paths(self) -> tuple[Path, Path]:
        """Return the file and its write-ahead log."""
        return self.path, self.path.with_name(f"{self.path.name}-wal")

    def _is_in_place(self) -> bool:
        """Return whether what is open is what the next start will find."""
        return all(_identity(path) == found for path, found in self._files.items())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        if connection is None:
            raise StateError(f"the state in {self.path} is closed", hint="the daemon is stopping: start it again")
        if not self._is_in_place():
            raise StateError(
                f"the state in {self.path} cannot be written: the file was removed or replaced while xdplb ran",
                hint="put it back; or restart xdplb, which starts with what is there now: before that, save what"
                " `xdplb vip ls -o json` and `xdplb backend ls -o json` show",
            )
        with storage_errors(self.path, "cannot be written"):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and the inode of a file, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _read_state(connection: sqlite3.Connection) -> Snapshot:
    desired: dict[VipKey, DesiredVip] = {}
    bindings: dict[VipKey, VipBinding] = {}
    generations: dict[VipKey, VipGenerations] = {}
    backends, backend_bindings, backend_generations = _read_backends(connection)
    access = {row[0]: unpack_access(*row[1:]) for row in connection.execute("SELECT * FROM desired_access")}
    for text, vip_id, generation, spec, check in connection.execute(
        "SELECT vip, id, generation, spec, health_check FROM desired_vip JOIN vip_binding USING (vip) ORDER BY id"
    ):
        key = VipKey.parse(text)
        desired[key] = DesiredVip(
            vip_from_json(key, json.loads(spec)),
            None if check is None else check_from_json(json.loads(check)),
            backends.get(text, {}),
            access.get(text, NO_ACCESS_LIST),
        )
        bindings[key] = VipBinding(vip_id, backend_bindings.get(text, {}))
        generations[key] = VipGenerations(generation, backend_generations.get(text, {}))
    counters = dict(connection.execute("SELECT name, value FROM counter"))
    epochs = dict(connection.execute("SELECT backend, epoch FROM epoch"))
    return Snapshot.of(
        Desired(desired), Bindings(bindings, epochs), Generations(counters.get("generation", 0), generations)
    )


def _read_backends(
    connection: sqlite3.Connection,
) -> tuple[
    dict[str, dict[IPAddress, DesiredBackend]],
    dict[str, dict[IPAddress, BackendBinding]],
    dict[str, dict[IPAddress, int]],
]:
    """Return the backends, their bindings and their generations, each by the text of the VIP's key, then by address."""
    alike: dict[tuple[str, str], DesiredBackend] = {}
    desired: dict[str, dict[IPAddress, DesiredBackend]] = {}
    bindings: dict[str, dict[IPAddress, BackendBinding]] = {}
    generations: dict[str, dict[IPAddress, int]] = {}
    for vip, text, backend_id, epoch, generation, spec, started, timeout, quiet in connection.execute(
        "SELECT vip, address, id, epoch, generation, spec, drain_started, drain_timeout_seconds, drain_quiet_seconds"
        " FROM desired_backend JOIN backend_binding USING (vip, address) ORDER BY id"
    ):
        like = alike.get((text, spec))
        if like is None:  # a host is a backend of many VIPs, mostly with the same settings
            like = alike[text, spec] = DesiredBackend(backend_from_json(ip_address(text), json.loads(spec)))
        address = like.backend.address
        drain = None if started is None else Drain(_utc(started), timeout, quiet)
        desired.setdefault(vip, {})[address] = like if drain is None else replace(like, drain=drain)
        bindings.setdefault(vip, {})[address] = BackendBinding(backend_id, epoch)
        generations.setdefault(vip, {})[address] = generation
    return desired, bindings, generations


def _read_health(connection: sqlite3.Connection) -> dict[int, KnownHealth]:
    rows = connection.execute("SELECT backend, health, reason, since FROM health")
    return {backend: KnownHealth(Health(health), reason, _utc(since)) for backend, health, reason, since in rows}


def _delete_gone(connection: sqlite3.Connection, before: Snapshot, after: Snapshot) -> None:
    """Delete removed VIPs and backends. This must come first, since new ones may reuse their ids."""
    gone: list[tuple[str, str]] = []
    difference = differing(before.vips, after.vips)
    for key in (*difference.gone, *difference.changed):
        old, new = before.vips[key], after.vips.get(key)
        if new is None or new.id != old.id:
            connection.execute("DELETE FROM desired_vip WHERE vip = ?", (str(key),))
        else:
            backends = differing(old.backends, new.backends)
            held = {address: old.backends[address] for address in (*backends.gone, *backends.changed)}
            kept = {(b.id, b.epoch) for b in (new.backends[address] for address in backends.present)}
            gone += [(str(key), str(address)) for address, b in held.items() if (b.id, b.epoch) not in kept]
    connection.executemany("DELETE FROM desired_backend WHERE vip = ? AND address = ?", gone)


def _write_vip(connection: sqlite3.Connection, old: BoundVip | None, new: BoundVip) -> None:
    key = str(new.vip.key)
    check = None if new.check is None else json.dumps(check_to_json(new.check))
    connection.execute(
        "INSERT INTO desired_vip VALUES (?, ?, ?, ?) ON CONFLICT (vip) DO UPDATE SET"
        " generation = excluded.generation, spec = excluded.spec, health_check = excluded.health_check",
        (key, new.generation, json.dumps(vip_to_json(new.vip)), check),
    )
    if old is None or old.id != new.id:
        old = None
        connection.execute("INSERT INTO vip_binding VALUES (?, ?)", (new.id, key))
    if (NO_ACCESS_LIST if old is None else old.access) is not new.access:
        _write_access(connection, key, new)
    known = {} if old is None else old.backends
    present = differing(known, new.backends).present
    changed = [(address, b) for address in present if known.get(address) != (b := new.backends[address])]
    _write_backends(connection, key, changed, known)


def _write_access(connection: sqlite3.Connection, key: str, vip: BoundVip) -> None:
    if vip.access:
        connection.execute(
            "INSERT OR REPLACE INTO desired_access VALUES (?, ?, ?, ?, ?)", (key, *pack_access(vip.access))
        )
    else:
        connection.execute("DELETE FROM desired_access WHERE vip = ?", (key,))


def _write_backends(
    connection: sqlite3.Connection,
    key: str,
    changed: list[tuple[IPAddress, BoundBackend]],
    known: Mapping[IPAddress, BoundBackend],
) -> None:
    connection.executemany(
        "INSERT INTO desired_backend VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (vip, address) DO UPDATE SET"
        " generation = excluded.generation, spec = excluded.spec, drain_started = excluded.drain_started,"
        " drain_timeout_seconds = excluded.drain_timeout_seconds, drain_quiet_seconds = excluded.drain_quiet_seconds",
        (
            (key, str(address), b.generation, json.dumps(backend_to_json(b.backend)), *_drain_columns(b.drain))
            for address, b in changed
        ),
    )
    new = ((a, b) for a, b in changed if (old := known.get(a)) is None or (old.id, old.epoch) != (b.id, b.epoch))
    connection.executemany(
        "INSERT INTO backend_binding VALUES (?, ?, ?, ?)", ((b.id, b.epoch, key, str(address)) for address, b in new)
    )


def _drain_columns(drain: Drain | None) -> tuple[float | None, float | None, float | None]:
    if drain is None:
        return None, None, None
    return drain.started.timestamp(), drain.timeout_seconds, drain.quiet_seconds


def _write_epochs(connection: sqlite3.Connection, before: Bindings, after: Bindings) -> None:
    if before.epochs is not after.epochs:
        changed = [(number, after.epochs[number]) for number in differing(before.epochs, after.epochs).present]
        connection.executemany("INSERT OR REPLACE INTO epoch VALUES (?, ?)", changed)


def _write_health(connection: sqlite3.Connection, health: Mapping[int, KnownHealth]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO health VALUES (?, ?, ?, ?)",
        [(key, known.health.value, known.reason, known.since.timestamp()) for key, known in health.items()],
    )


def _utc(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
