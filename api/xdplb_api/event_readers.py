# SPDX-License-Identifier: Apache-2.0
"""Who follows the events: so many readers at a time, of which no client takes all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .connections import Connection

__all__ = ["EventReaders"]


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """One reader: its client, and its connection, None in tests without a server."""

    client: str
    connection: Connection | None


class EventReaders:
    """The readers, `most` at a time. Used in the API's event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reading: list[_Reader] = []

    @property
    def number(self) -> int:
        """How many there are now."""
        return len(self._reading)

    @contextmanager
    def place(self, connection: Connection | None) -> Iterator[bool]:
        """Take a place for the block; yield whether there is one. A client with far more of them makes room."""
        mine = _Reader("" if connection is None else connection.client_name, connection)
        if len(self._reading) >= self._most and not self._make_room(mine.client):
            yield False
            return
        self._reading.append(mine)
        try:
            yield True
        finally:
            if mine in self._reading:  # it may have made room
                self._reading.remove(mine)

    def _make_room(self, client: str) -> bool:
        clients = [one.client for one in self._reading]
        hog = max(clients, key=clients.count)
        if clients.count(hog) < 2 * (clients.count(client) + 1):
            return False
        oldest = next(one for one in self._reading if one.client == hog)
        self._reading.remove(oldest)
        if oldest.connection is not None:
            oldest.connection.yields()
        return True
