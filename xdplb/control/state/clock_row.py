# SPDX-License-Identifier: Apache-2.0
"""How the clock stood whose times are stored, beside them: see `xdplb.control.clock`."""

from __future__ import annotations

import sqlite3

from xdplb.control.clock import ClockMark

__all__ = ["CLOCK", "read_mark", "write_mark"]

CLOCK = """CREATE TABLE clock (
        one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL,
        booted INTEGER NOT NULL, at INTEGER NOT NULL, ahead INTEGER NOT NULL) STRICT"""

_MOVE = (
    """UPDATE desired_backend SET drain_started = MIN(drain_started + ?1, ?2)
        WHERE drain_started > ?2 OR (?1 <> 0 AND drain_started NOTNULL)""",
    """UPDATE store_pending SET drain_started = MIN(drain_started + ?1, ?2)
        WHERE drain_started > ?2 OR (?1 <> 0 AND drain_started NOTNULL)""",
    """UPDATE drain_certificate SET started = MIN(started + ?1, ?2), until = MIN(until + ?1, ?2),
        last_packet = MIN(last_packet + ?1, ?2) WHERE until > ?2 OR ?1 <> 0""",
    """UPDATE node_drain SET started = MIN(started + ?1, ?2), ended = MIN(ended + ?1, ?2)
        WHERE started > ?2 OR ?1 <> 0""",
    "UPDATE health SET since = MIN(since + ?1, ?2) WHERE since > ?2 OR ?1 <> 0",
)


def read_mark(connection: sqlite3.Connection) -> ClockMark | None:
    """Return the mark, None if no clock has left one."""
    row = connection.execute("SELECT boot, booted, at, ahead FROM clock").fetchone()
    return None if row is None else ClockMark(*row)


def write_mark(connection: sqlite3.Connection, mark: ClockMark, moved: int) -> bool:
    """Replace the mark, and move all stored times by `moved` ns, at most to the mark: none is after it.

    Return whether any time has changed.
    """
    connection.execute(
        "INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?)", (mark.boot, mark.booted, mark.at, mark.ahead)
    )
    by, now = moved / 1e9, mark.at / 1e9
    return sum(connection.execute(change, (by, now)).rowcount for change in _MOVE) > 0
