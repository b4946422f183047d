# SPDX-License-Identifier: Apache-2.0
"""The tables of what is known of the store that balancers share: see `store_copy.py`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address

from xdplb.control.state.entries import backend_entry, desired_backend, text_of
from xdplb.control.state.store_copy import NO_COPY, Digest, Odd, Pending, Place, StoreCopy
from xdplb.model.vip import VipKey

__all__ = ["COPY", "forget_copy", "past_after", "read_copy", "read_past", "write_copy", "write_past"]

COPY = (
    """CREATE TABLE store_copy (
        one INTEGER PRIMARY KEY CHECK (one = 1), lineage TEXT NOT NULL, generation INTEGER NOT NULL,
        digest TEXT NOT NULL, head TEXT NOT NULL) STRICT""",
    "CREATE TABLE store_odd (path TEXT PRIMARY KEY, value TEXT, reason TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE store_pending (
        vip TEXT NOT NULL, address TEXT NOT NULL, generation INTEGER NOT NULL, vip_generation INTEGER NOT NULL,
        entry TEXT NOT NULL, drain_started REAL,
        PRIMARY KEY (vip, address)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE store_past (generation INTEGER PRIMARY KEY, digest TEXT NOT NULL) STRICT",
)

_MOST_PAST = 1000
"""Of so many generations it is known later that they were a state of this lineage."""


def read_copy(connection: sqlite3.Connection) -> StoreCopy:
    """Return of which state in the store this one is the copy."""
    row = connection.execute("SELECT lineage, generation, digest, head FROM store_copy").fetchone()
    if row is None:
        return NO_COPY
    lineage, generation, digest, head = row
    odd = {
        path: Odd(None if value is None else json.loads(value), reason)
        for path, value, reason in connection.execute("SELECT path, value, reason FROM store_odd")
    }
    return StoreCopy(lineage, generation, Digest.parse(digest), json.loads(head), odd, _read_pending(connection))


def _read_pending(connection: sqlite3.Connection) -> dict[Place, Pending]:
    pending = {}
    for vip, text, generation, of_vip, entry, started in connection.execute(
        "SELECT vip, address, generation, vip_generation, entry, drain_started FROM store_pending"
    ):
        address = ip_address(text)
        began = datetime.fromtimestamp(started or 0, UTC)
        base = desired_backend(address, json.loads(entry), None, began)
        pending[VipKey.parse(vip), address] = Pending(base, generation, of_vip)
    return pending


def write_copy(connection: sqlite3.Connection, before: StoreCopy, after: StoreCopy) -> None:
    """Write what differs."""
    if before is after:
        return
    if after is NO_COPY:
        forget_copy(connection)
        return
    connection.execute(
        "INSERT OR REPLACE INTO store_copy VALUES (1, ?, ?, ?, ?)",
        (after.lineage, after.generation, str(after.digest), text_of(after.head)),
    )
    if before.odd != after.odd:
        connection.execute("DELETE FROM store_odd")
        connection.executemany(
            "INSERT INTO store_odd VALUES (?, ?, ?)",
            [(path, None if odd.value is None else text_of(odd.value), odd.reason) for path, odd in after.odd.items()],
        )
    if before.pending != after.pending:
        connection.execute("DELETE FROM store_pending")
        connection.executemany(
            "INSERT INTO store_pending VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    *(str(key), str(address), each.generation, each.vip_generation),
                    *(text_of(backend_entry(each.base)), _started(each)),
                )
                for (key, address), each in after.pending.items()
            ],
        )
    if before.lineage != after.lineage:
        connection.execute("DELETE FROM store_past")
    first = after.generation - _MOST_PAST
    connection.execute("DELETE FROM store_past WHERE generation > ? OR generation <= ?", (after.generation, first))
    write_past(connection, {after.generation: str(after.head["digest"])})


def read_past(connection: sqlite3.Connection) -> dict[int, str]:
    """Return the digests of this lineage's last states, by generation."""
    return dict(connection.execute("SELECT generation, digest FROM store_past"))


def past_after(past: dict[int, str], before: StoreCopy, after: StoreCopy) -> dict[int, str]:
    """Return what `read_past` returns after `write_copy`."""
    if before is after:
        return past
    first, known = after.generation - _MOST_PAST, past if before.lineage == after.lineage else {}
    kept = {number: digest for number, digest in known.items() if first < number <= after.generation}
    return {} if after is NO_COPY else {**kept, after.generation: str(after.head["digest"])}


def write_past(connection: sqlite3.Connection, past: Mapping[int, str]) -> None:
    """Add these."""
    connection.executemany("INSERT OR REPLACE INTO store_past VALUES (?, ?)", past.items())


def forget_copy(connection: sqlite3.Connection) -> None:
    """Make the state one that has never been in a store."""
    for statement in (
        "DELETE FROM store_copy",
        "DELETE FROM store_odd",
        "DELETE FROM store_pending",
        "DELETE FROM store_past",
    ):
        connection.execute(statement)


def _started(pending: Pending) -> float | None:
    return None if pending.base.drain is None else pending.base.drain.started.timestamp()
