"""The digest of what a balancer desires, for others to compare with theirs; it costs what has changed since."""

from __future__ import annotations

from xdplb.control.state.desired import Desired
from xdplb.control.state.entries import settings_entry
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store_copy import NO_COPY, StoreCopy
from xdplb.control.state.written import written

__all__ = ["RunningDigest"]


class RunningDigest:
    """Gives the digest of one snapshot after the other. With a store, it is that of what is there."""

    def __init__(self) -> None:
        self._desired: Desired | None = None
        self._copy = NO_COPY

    def of(self, snapshot: Snapshot) -> str:
        """Return the digest, in hex."""
        copy, desired = snapshot.copy, snapshot.desired
        if copy.lineage and not copy.pending:
            return str(copy.digest)
        if desired is not self._desired:
            made = written(Desired() if self._desired is None else self._desired, desired, 1, self._copy)
            self._desired, self._copy = desired, StoreCopy(digest=made.digest, head=settings_entry(desired))
        return str(self._copy.digest)
