"""The state on disk: one SQLite file, one transaction a change, synced before it is acknowledged.

All methods block and must be called from one thread, the same one each time. The file is held exclusively while it
is open, so that two daemons cannot share a state directory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from xdplb.control.state.codec import (
    decode_access,
    decode_backend,
    decode_check,
    decode_vip,
    encode_access,
    encode_backend,
    encode_check,
    encode_vip,
)
from xdplb.control.state.schema import prepare
from xdplb.control.state.snapshot import NO_ACCESS_LIST, BoundBackend, BoundVip, Drain, KnownHealth, Snapshot
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.model.vip import Protocol, VipKey

__all__ = ["Store"]


class Store:
    """The state kept in `directory`, which is made if it is not there."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "state.db"
        self._connection: sqlite3.Connection | None = None

    def open(self) -> tuple[Snapshot, dict[int, KnownHealth]]:
        """Open or create the file and return what it holds: the state, and last known health by backend id."""
        with self._explained("cannot be opened"):
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        self._connection = connection
        try:
            with self._explained("cannot be opened"):
                prepare(connection, self.path)
                return _read_state(connection), _read_health(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and let go of it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def save(self, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth]) -> None:
        """Write what differs between two states, and these healths: on disk when this returns, or nothing at all."""
        with self._transaction() as connection:
            _delete_gone(connection, before, after)
            for key, vip in after.vips.items():
                if (old := before.vips.get(key)) != vip:
                    _write_vip(connection, old, vip)
            epochs = [item for item in after.epochs.items() if before.epochs.get(item[0]) != item[1]]
            connection.executemany("INSERT OR REPLACE INTO epoch VALUES (?, ?)", epochs)
            connection.execute("INSERT OR REPLACE INTO counter VALUES ('generation', ?)", (after.generation,))
            _write_health(connection, health)

    def save_health(self, health: Mapping[int, KnownHealth]) -> None:
        """Write these healths. Those of backends that are gone by now are left out."""
        with self._transaction() as connection:
            known = {row[0] for row in connection.execute("SELECT id FROM backend")}
            _write_health(connection, {key: value for key, value in health.items() if key in known})

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        if connection is None:
            raise PlatformError(f"the state in {self.path} is closed", hint="the daemon is stopping: start it again")
        with self._explained("cannot be written"):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what SQLite and the file system say into a sentence."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise ConflictError(
                    f"the state in {self.path} is held by another xdplb",
                    hint="stop it, or give this one its own --state-dir",
                ) from error
            raise PlatformError(
                f"the state in {self.path} {what}: {error}",
                hint="check that the file system has room and is writable for this user",
            ) from error
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            raise PlatformError(
                f"the state in {self.path} is damaged: {error}",
                hint="put a copy of the file back, or move it away to start with no VIPs",
            ) from error
        except OSError as error:
            raise PlatformError(
                f"the state in {self.path} {what}: {error.strerror}", hint="give a --state-dir that can be written"
            ) from error


def _read_state(connection: sqlite3.Connection) -> Snapshot:
    backends: dict[int, dict[IPAddress, BoundBackend]] = {}
    for row in connection.execute(
        "SELECT vip, id, epoch, address, generation, spec, drain_started, drain_timeout_seconds, drain_quiet_seconds"
        " FROM backend ORDER BY id"
    ):
        vip, backend_id, epoch, text, generation, spec, started, timeout, quiet = row
        address = ip_address(text)
        drain = None if started is None else Drain(_utc(started), timeout, quiet)
        record = BoundBackend(backend_id, epoch, decode_backend(address, spec), generation, drain)
        backends.setdefault(vip, {})[address] = record
    vips: dict[VipKey, BoundVip] = {}
    access = {row[0]: decode_access(*row[1:]) for row in connection.execute("SELECT * FROM access")}
    for vip_id, text, port, protocol, prefix_length, last_port, generation, spec, check in connection.execute(
        "SELECT id, address, port, protocol, prefix_length, last_port, generation, spec, health_check"
        " FROM vip ORDER BY id"
    ):
        key = VipKey(ip_address(text), port, Protocol(protocol), prefix_length, last_port)
        decoded, mine = None if check is None else decode_check(check), backends.get(vip_id, {})
        allowed = access.get(vip_id, NO_ACCESS_LIST)
        vips[key] = BoundVip(vip_id, decode_vip(key, spec), generation, decoded, mine, allowed)
    counters = dict(connection.execute("SELECT name, value FROM counter"))
    epochs = dict(connection.execute("SELECT backend, epoch FROM epoch"))
    return Snapshot(counters.get("generation", 0), vips, epochs)


def _read_health(connection: sqlite3.Connection) -> dict[int, KnownHealth]:
    rows = connection.execute("SELECT backend, health, reason, since FROM health")
    return {backend: KnownHealth(Health(health), reason, _utc(since)) for backend, health, reason, since in rows}


def _delete_gone(connection: sqlite3.Connection, before: Snapshot, after: Snapshot) -> None:
    """Delete what is gone first, since its id or address may be in use again in what comes."""
    gone_backends: list[tuple[int]] = []
    for key, old in before.vips.items():
        new = after.vips.get(key)
        if new is None or new.id != old.id:
            connection.execute("DELETE FROM vip WHERE id = ?", (old.id,))
        elif new is not old:
            kept = {(record.id, record.epoch) for record in new.backends.values()}
            gone_backends += [(r.id,) for r in old.backends.values() if (r.id, r.epoch) not in kept]
    connection.executemany("DELETE FROM backend WHERE id = ?", gone_backends)


def _write_vip(connection: sqlite3.Connection, old: BoundVip | None, new: BoundVip) -> None:
    key = new.vip.key
    check = None if new.check is None else encode_check(new.check)
    connection.execute(
        "INSERT INTO vip VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " generation = excluded.generation, spec = excluded.spec, health_check = excluded.health_check",
        (
            *(new.id, str(key.address), key.port, key.protocol.value, new.generation, encode_vip(new.vip), check),
            *(key.prefix_length, key.last_port),
        ),
    )
    if old is not None and old.id != new.id:
        old = None
    if (NO_ACCESS_LIST if old is None else old.access) is not new.access:
        _write_access(connection, new)
    known = {} if old is None else old.backends
    changed = (record for address, record in new.backends.items() if known.get(address) != record)
    _write_backends(connection, new.id, changed)


def _write_access(connection: sqlite3.Connection, record: BoundVip) -> None:
    if record.access:
        connection.execute(
            "INSERT OR REPLACE INTO access VALUES (?, ?, ?, ?, ?)", (record.id, *encode_access(record.access))
        )
    else:
        connection.execute("DELETE FROM access WHERE vip = ?", (record.id,))


def _write_backends(connection: sqlite3.Connection, vip_id: int, records: Iterable[BoundBackend]) -> None:
    connection.executemany(
        "INSERT INTO backend VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " generation = excluded.generation, spec = excluded.spec, drain_started = excluded.drain_started,"
        " drain_timeout_seconds = excluded.drain_timeout_seconds, drain_quiet_seconds = excluded.drain_quiet_seconds",
        (
            (r.id, r.epoch, vip_id, str(r.backend.address), r.generation, encode_backend(r.backend), *_drain(r.drain))
            for r in records
        ),
    )


def _drain(drain: Drain | None) -> tuple[float | None, float | None, float | None]:
    if drain is None:
        return None, None, None
    return drain.started.timestamp(), drain.timeout_seconds, drain.quiet_seconds


def _write_health(connection: sqlite3.Connection, health: Mapping[int, KnownHealth]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO health VALUES (?, ?, ?, ?)",
        [(key, known.health.value, known.reason, known.since.timestamp()) for key, known in health.items()],
    )


def _utc(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
