# SPDX-License-Identifier: Apache-2.0
"""The interface of a store for the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from xdplb.control.clock import ClockMark
from xdplb.control.state.certificate import Certificate
from xdplb.control.state.node_drain import NodeDrain
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.told import Told
from xdplb.model.backend import KnownHealth

__all__ = ["Store"]


class Store(Protocol):
    """Keeps the desired state, this host's bindings and the last known health across restarts and crashes.

    A store that several balancers share keeps what all of them desire; each of them keeps its own bindings and health
    beside it, which mean nothing to the others.

    All methods block, and are called one at a time: by the start, then all from one thread. Raises ConflictError if
    another process holds the store, StateError if it cannot be read or written.
    """

    @property
    def instance(self) -> int:
        """The id of the state that is open: of this host's, since it is about its maps."""
        ...

    def open(self) -> tuple[Snapshot, dict[int, KnownHealth]]:
        """Open the store and return its contents: the state, and the last known health by backend id."""
        ...

    def save(
        self, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth], told: Told | None = None
    ) -> None:
        """Write the difference of two states, these healths, and the change's event.

        All of it is durable when this returns, or nothing is written.
        """
        ...

    def told(self) -> list[str]:
        """Return the events that were saved with the last changes: those that may not be kept elsewhere yet."""
        ...

    def save_health(self, health: Mapping[int, KnownHealth]) -> None:
        """Write these healths, except those of backends that have been removed."""
        ...

    def certificates(self) -> dict[int, Certificate]:
        """Return the certificate of the last drain of each backend that has had one, by backend id."""
        ...

    def save_certificates(self, certificates: Mapping[tuple[int, int], Certificate]) -> None:
        """Write these, by backend id and epoch, except those of backends that have been removed."""
        ...

    def past(self) -> dict[int, str]:
        """Return the digests of the last states of the lineage that this is a copy of, by generation."""
        ...

    def node_drain(self) -> NodeDrain | None:
        """Return the drain of this node that was saved last, None if it is not drained."""
        ...

    def save_node_drain(self, drain: NodeDrain | None) -> None:
        """Write that this node drains, or that it does not."""
        ...

    def restore(self) -> str:
        """Save everything again if what is stored was removed meanwhile; return what became of it, empty if nothing.

        StateError if something else was stored in its place.
        """
        ...

    def clock_mark(self) -> ClockMark | None:
        """Return how the clock stood that gave the stored times, None if they are of the wall clock."""
        ...

    def set_clock_mark(self, mark: ClockMark, moved: int) -> bool:
        """Keep how the clock stands, and move all stored times by so many ns, at most to the mark's own time.

        Return whether any of them has changed.
        """
        ...

    def is_in_doubt(self) -> bool:
        """Return whether the store may not be writable now. Costs next to nothing, and writes nothing."""
        ...

    def touch(self) -> None:
        """Write something that changes nothing, to see that the store can be written."""
        ...

    def copy(self) -> bytes:
        """Return a backup of all that is stored now; see `backup.py`."""
        ...

    def close(self) -> None:
        """Release the store."""
        ...
