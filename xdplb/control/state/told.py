# SPDX-License-Identifier: Apache-2.0
"""Events of changes, kept with the changes themselves until they are kept elsewhere for good.

So an acknowledged change has its event, whatever happens to the process, the power, or the file of the events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["TOLD", "Told", "read_told", "write_told"]

TOLD = "CREATE TABLE told (generation INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"

_MOST = 1000
"""How many are kept here if they cannot be kept elsewhere."""


@dataclass(frozen=True, slots=True)
class Told:
    """The event of the change that gave `generation`. `text` makes it, and may take a while.

    Those of generations up to `kept` are kept elsewhere.
    """

    generation: int
    text: Callable[[], str]
    kept: int


def write_told(connection: sqlite3.Connection, told: Told, text: str) -> None:
    """Write one, and delete those that are not needed here any more."""
    connection.execute("DELETE FROM told WHERE generation <= ?", (max(told.kept, told.generation - _MOST),))
    connection.execute("INSERT OR REPLACE INTO told VALUES (?, ?)", (told.generation, text))


def read_told(connection: sqlite3.Connection) -> list[str]:
    """Return all, in the order of the changes."""
    return [text for (text,) in connection.execute("SELECT text FROM told ORDER BY generation")]
