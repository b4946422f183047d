"""The records of connections that go to the other balancers of a cluster, and those that come from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdplb.model.shared_record import NO_RECORDS, SharedRecords, SharedState

__all__ = ["RecordSync", "SyncCounts"]


@dataclass(slots=True)
class SyncCounts:
    """What has become of records since the start; read in any thread."""

    made: int = 0
    """Handed to `on_new`."""
    lost: int = 0
    """Not handed to `on_new`, since the ring was full: each time, `on_gap` is called."""
    inserted: int = 0
    """From peers, and written here."""
    known: int = 0
    """From peers, and nothing to do: the slot tells the same, or there is such a record."""
    refused: int = 0
    """From peers, and too many: more than may come in a second, or than there is room for."""
    unplaced: int = 0
    """From peers, and given up: no such VIP or backend here, and none has come within some seconds."""


class RecordSync:
    """Hands out the records that peers must have, and takes theirs.

    `on_new` gets the records of each few milliseconds, in a thread of its own and not in the control loop. `on_gap` is
    called in that thread too: records were lost, so that the peers must pull `unsettled`.
    """

    def __init__(self) -> None:
        self.on_new: Callable[[SharedRecords], None] = lambda _: None
        self.on_gap: Callable[[], None] = lambda: None
        self.counts = SyncCounts()

    async def start(self) -> None:
        """Have the program hand out records, and call `on_new` with them from now on."""

    async def stop(self) -> None:
        """Call `on_new` no more."""

    def take(self, records: SharedRecords) -> None:
        """Take records of a peer, in the control loop: they are written soon, and this does not wait for it."""

    async def unsettled(self) -> SharedState:
        """Return what a peer that starts must know, in the control loop."""
        return SharedState((), NO_RECORDS)

    async def take_over(self, state: SharedState) -> None:
        """Take a peer's slots and records over, in the control loop; return once packets go by them.

        To be called before this balancer serves, and after a gap.
        """
