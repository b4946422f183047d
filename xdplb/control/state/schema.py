# SPDX-License-Identifier: Apache-2.0
"""The schema of the state file, and the migrations from earlier versions.

The desired state has its own tables, by VIP key and backend address; this host's ids are in separate ones.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from xdplb.control.state.clock_row import CLOCK
from xdplb.control.state.copy_rows import COPY
from xdplb.control.state.node_drain import NODE_DRAIN
from xdplb.control.state.told import TOLD
from xdplb.model.errors import ConflictError
from xdplb.model.vip import Protocol, VipKey

__all__ = ["SCHEMA_VERSION", "new_instance", "prepare"]

_MAX_INSTANCE = (1 << 63) - 1
"""The largest number that a column holds."""

SCHEMA_VERSION = 13

_COUNTER = "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID"
_EPOCH = "CREATE TABLE epoch (backend INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT"

_VIP = """CREATE TABLE desired_vip (
        vip TEXT PRIMARY KEY, generation INTEGER NOT NULL, spec TEXT NOT NULL, {checks}) STRICT"""

_PARTS = (
    """CREATE TABLE desired_backend (
        vip TEXT NOT NULL REFERENCES desired_vip ON DELETE CASCADE, address TEXT NOT NULL,
        generation INTEGER NOT NULL, spec TEXT NOT NULL,
        drain_started REAL, drain_timeout_seconds REAL, drain_quiet_seconds REAL, {drain_cut}
        PRIMARY KEY (vip, address)) STRICT""",
    """CREATE TABLE desired_access (
        vip TEXT PRIMARY KEY REFERENCES desired_vip ON DELETE CASCADE,
        allow4 BLOB NOT NULL, allow6 BLOB NOT NULL, deny4 BLOB NOT NULL, deny6 BLOB NOT NULL) STRICT""",
)

_BINDINGS = (
    """CREATE TABLE vip_binding (
        id INTEGER PRIMARY KEY, vip TEXT NOT NULL UNIQUE REFERENCES desired_vip ON DELETE CASCADE) STRICT""",
    """CREATE TABLE backend_binding (
        id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, vip TEXT NOT NULL, address TEXT NOT NULL,
        UNIQUE (vip, address),
        FOREIGN KEY (vip, address) REFERENCES desired_backend ON DELETE CASCADE) STRICT""",
)

_HEALTH = """CREATE TABLE {name} (
        backend INTEGER PRIMARY KEY REFERENCES backend_binding ON DELETE CASCADE,
        health TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL) STRICT"""

_DECLARED = (
    """CREATE TABLE declared_backend (
        vip TEXT NOT NULL, address TEXT NOT NULL, weight INTEGER NOT NULL, admin_state TEXT NOT NULL,
        PRIMARY KEY (vip, address),
        FOREIGN KEY (vip, address) REFERENCES desired_backend ON DELETE CASCADE) STRICT""",
    "CREATE TABLE config (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
)

_DRAIN_CUT = "drain_cut INTEGER NOT NULL DEFAULT 0"
_DRAIN_ID = "drain_id TEXT NOT NULL DEFAULT ''"
_CERTIFICATE = """CREATE TABLE drain_certificate (
        backend INTEGER PRIMARY KEY REFERENCES backend_binding ON DELETE CASCADE,
        started REAL NOT NULL, until REAL NOT NULL, last_packet REAL, certificate TEXT NOT NULL) STRICT"""

_WAS_UP = "ALTER TABLE health ADD COLUMN was_up INTEGER NOT NULL DEFAULT 0"
_ADVICE = "ALTER TABLE health ADD COLUMN advice TEXT"

_SCHEMA = (
    _COUNTER,
    _VIP.format(checks="checks TEXT NOT NULL"),
    *(each.format(drain_cut=f"{_DRAIN_CUT}, {_DRAIN_ID},") for each in _PARTS),
    *_BINDINGS,
    _EPOCH,
    _HEALTH.format(name="health"),
    _WAS_UP,
    _ADVICE,
    CLOCK,
    TOLD,
    *_DECLARED,
    _CERTIFICATE,
    NODE_DRAIN,
    *COPY,
)

_ACCESS_2 = """CREATE TABLE access (
        vip INTEGER PRIMARY KEY REFERENCES vip ON DELETE CASCADE,
        allow4 BLOB NOT NULL, allow6 BLOB NOT NULL, deny4 BLOB NOT NULL, deny6 BLOB NOT NULL) STRICT"""


def new_instance() -> int:
    """Return an id for a state that no other one has."""
    return 1 + secrets.randbelow(_MAX_INSTANCE)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Set up the file for durable writes by this process only, check it, and create or migrate its tables.

    A file of an earlier version is migrated in one transaction. ConflictError if it has a later version.
    """
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(said)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise ConflictError(
            f"the state in {path} was written by a newer xdplb (schema {version}, this one knows {SCHEMA_VERSION})",
            hint="run that version, or use another --state-dir",
        )
    if version < SCHEMA_VERSION:
        connection.execute("PRAGMA foreign_keys = OFF")  # otherwise dropping a table would delete rows that refer to it
        connection.execute("BEGIN EXCLUSIVE")
        _bring_up_to_date(connection, version)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    connection.execute("PRAGMA foreign_keys = ON")


def _bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Migrate a file from `version` to SCHEMA_VERSION; 0 is an empty file."""
    if version == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
        _give_instance(connection)
    else:
        for step in range(version, SCHEMA_VERSION):
            _MIGRATIONS[step](connection)


def _to_ranges_and_prefixes(connection: sqlite3.Connection) -> None:
    """Before, VIPs had one IPv4 address and one port, and no access lists."""
    for statement in (
        "ALTER TABLE vip ADD COLUMN prefix_length INTEGER NOT NULL DEFAULT 32",
        "ALTER TABLE vip ADD COLUMN last_port INTEGER NOT NULL DEFAULT 0",
        "UPDATE vip SET last_port = port",
        _ACCESS_2,
    ):
        connection.execute(statement)


def _to_desired_and_bindings(connection: sqlite3.Connection) -> None:
    """Before, VIPs and backends had this host's ids as keys, in one table with the desired state."""
    connection.create_function("vip_key", 5, _key_text, deterministic=True)
    for statement in (
        _VIP.format(checks="health_check TEXT"),
        *(each.format(drain_cut="") for each in _PARTS),
        *_BINDINGS,
        _HEALTH.format(name="health_new"),
        """INSERT INTO vip_binding
            SELECT id, vip_key(address, port, protocol, prefix_length, last_port) FROM vip""",
        """INSERT INTO desired_vip
            SELECT b.vip, generation, spec, health_check FROM vip v JOIN vip_binding b USING (id)""",
        """INSERT INTO desired_backend
            SELECT v.vip, address, generation, spec, drain_started, drain_timeout_seconds, drain_quiet_seconds
            FROM backend b JOIN vip_binding v ON v.id = b.vip""",
        """INSERT INTO backend_binding
            SELECT b.id, epoch, v.vip, address FROM backend b JOIN vip_binding v ON v.id = b.vip""",
        """INSERT INTO desired_access
            SELECT v.vip, allow4, allow6, deny4, deny6 FROM access a JOIN vip_binding v ON v.id = a.vip""",
        "INSERT INTO health_new SELECT * FROM health",
        *(f"DROP TABLE {name}" for name in ("health", "access", "backend", "vip")),
        "ALTER TABLE health_new RENAME TO health",
    ):
        connection.execute(statement)


def _give_instance(connection: sqlite3.Connection) -> None:
    """Give the state an id of its own, by which maps are known to belong to it. Before, it had none."""
    connection.execute("INSERT INTO counter VALUES ('instance', ?)", (new_instance(),))


def _to_steady_time(connection: sqlite3.Connection) -> None:
    """Before, times were of the wall clock. They stay as they are: without a mark they are taken for that."""
    connection.execute(CLOCK)


def _to_events(connection: sqlite3.Connection) -> None:
    """Before, events were only logged."""
    connection.execute(TOLD)


def _to_an_owner(connection: sqlite3.Connection) -> None:
    """Before, only the API declared what is desired, and no setting could change while the daemon ran."""
    for statement in _DECLARED:
        connection.execute(statement)


def _to_several_checks(connection: sqlite3.Connection) -> None:
    """Before, a VIP had at most one check, of HTTP or TCP, that went to the backend's own address.

    Such a check has no target: it stays as it is, also when the config file that declared it is read again.
    """
    connection.create_function("checks_of", 1, _checks_of, deterministic=True)
    # Not renamed: a column that may be NULL cannot become one that may not.
    for statement in (
        "ALTER TABLE desired_vip ADD COLUMN checks TEXT NOT NULL DEFAULT '[]'",
        "UPDATE desired_vip SET checks = checks_of(health_check)",
        "ALTER TABLE desired_vip DROP COLUMN health_check",
    ):
        connection.execute(statement)


def _checks_of(check: str | None) -> str:
    if check is None:
        return "[]"
    told = json.loads(check)
    if told["type"] == "tcp":  # it had a path and statuses that nobody asked for
        told = {name: value for name, value in told.items() if name not in {"path", "expect_status"}}
    return json.dumps([{"target": None, **told}])


def _to_certificates(connection: sqlite3.Connection) -> None:
    """Before, drains cut nothing, and nothing was kept of what came of them."""
    connection.execute(f"ALTER TABLE desired_backend ADD COLUMN {_DRAIN_CUT}")
    connection.execute(_CERTIFICATE)


def _to_last_good(connection: sqlite3.Connection) -> None:
    """Before, it was not kept whether a backend that is down was up before. Then it is not taken for one that was."""
    connection.execute(_WAS_UP)


def _to_advice(connection: sqlite3.Connection) -> None:
    """Before, agents had nothing to say."""
    connection.execute(_ADVICE)


def _to_node_drains(connection: sqlite3.Connection) -> None:
    """Before, a node could not be drained as a whole."""
    connection.execute(NODE_DRAIN)


def _to_a_store(connection: sqlite3.Connection) -> None:
    """Before, balancers shared no store, and drains had no ids, which are when they began on whoever was asked."""
    connection.create_function("began", 1, lambda at: datetime.fromtimestamp(at, UTC).isoformat(), deterministic=True)
    for statement in (
        f"ALTER TABLE desired_backend ADD COLUMN {_DRAIN_ID}",
        "UPDATE desired_backend SET drain_id = began(drain_started) WHERE drain_started NOTNULL",
        *COPY,
    ):
        connection.execute(statement)


def _key_text(address: str, port: int, protocol: str, prefix_length: int, last_port: int) -> str:
    return str(VipKey(ip_address(address), port, Protocol(protocol), prefix_length, last_port))


_MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {
    1: _to_ranges_and_prefixes,
    2: _to_desired_and_bindings,
    3: _give_instance,
    4: _to_steady_time,
    5: _to_events,
    6: _to_an_owner,
    7: _to_several_checks,
    8: _to_certificates,
    9: _to_last_good,
    10: _to_advice,
    11: _to_node_drains,
    12: _to_a_store,
}
"""By version: the migration from it to the next version."""
