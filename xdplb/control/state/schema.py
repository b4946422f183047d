"""The tables of the state's file, and how a file of an earlier version becomes one of this."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from xdplb.model.errors import PlatformError

__all__ = ["SCHEMA_VERSION", "prepare"]

SCHEMA_VERSION = 2

_VIP = """CREATE TABLE {name} (
        id INTEGER PRIMARY KEY, address TEXT NOT NULL, port INTEGER NOT NULL, protocol TEXT NOT NULL,
        generation INTEGER NOT NULL, spec TEXT NOT NULL, health_check TEXT,
        prefix_length INTEGER NOT NULL, last_port INTEGER NOT NULL,
        UNIQUE (address, prefix_length, port, last_port, protocol)) STRICT"""

_ACCESS = """CREATE TABLE access (
        vip INTEGER PRIMARY KEY REFERENCES vip ON DELETE CASCADE,
        allow4 BLOB NOT NULL, allow6 BLOB NOT NULL, deny4 BLOB NOT NULL, deny6 BLOB NOT NULL) STRICT"""

_SCHEMA = (
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    _VIP.format(name="vip"),
    """CREATE TABLE backend (
        id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, vip INTEGER NOT NULL REFERENCES vip ON DELETE CASCADE,
        address TEXT NOT NULL, generation INTEGER NOT NULL, spec TEXT NOT NULL,
        drain_started REAL, drain_timeout_seconds REAL, drain_quiet_seconds REAL,
        UNIQUE (vip, address)) STRICT""",
    "CREATE TABLE epoch (backend INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT",
    """CREATE TABLE health (
        backend INTEGER PRIMARY KEY REFERENCES backend ON DELETE CASCADE,
        health TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL) STRICT""",
    _ACCESS,
)

_MIGRATIONS = {
    # VIPs had one IPv4 address and one port.
    1: (
        _VIP.format(name="vip_new"),
        "INSERT INTO vip_new SELECT id, address, port, protocol, generation, spec, health_check, 32, port FROM vip",
        "DROP TABLE vip",
        "ALTER TABLE vip_new RENAME TO vip",
        _ACCESS,
    ),
}
"""By version: the statements that make a file of it one of the next."""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Set the file up for durable writes by this process alone, check it, and give it the tables of this version.

    A file of an earlier version is brought up to date in one transaction. PlatformError for one of a later version.
    """
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(said)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise PlatformError(
            f"the state in {path} was written by a newer xdplb (schema {version}, this one knows {SCHEMA_VERSION})",
            hint="run that version, or give this one another --state-dir",
        )
    if version < SCHEMA_VERSION:
        connection.execute("PRAGMA foreign_keys = OFF")  # else dropping a table would delete what refers to it
        connection.execute("BEGIN EXCLUSIVE")
        for statement in _statements(version):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    connection.execute("PRAGMA foreign_keys = ON")


def _statements(version: int) -> tuple[str, ...]:
    """Return what makes a file of this version, 0 for an empty one, one of SCHEMA_VERSION."""
    if version == 0:
        return _SCHEMA
    return tuple(statement for step in range(version, SCHEMA_VERSION) for statement in _MIGRATIONS[step])
