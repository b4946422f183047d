"""Where the state is kept: what any store promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from xdplb.control.state.snapshot import KnownHealth, Snapshot

__all__ = ["Store"]


class Store(Protocol):
    """Keeps what was asked for, this host's bindings of it and the last known health, whatever happens to the process.

    All methods block and are called from one thread, the same one each time. Errors: ConflictError where another
    process holds the store, PlatformError where it cannot be read or written.
    """

    def open(self) -> tuple[Snapshot, dict[int, KnownHealth]]:
        """Take hold of the store and return what it has: the state, and the last known health by backend id."""
        ...

    def save(self, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth]) -> None:
        """Write what differs between two states, and these healths: kept when this returns, or nothing of it is."""
        ...

    def save_health(self, health: Mapping[int, KnownHealth]) -> None:
        """Write these healths. Those of backends that are gone by now are left out."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
