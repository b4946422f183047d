# SPDX-License-Identifier: Apache-2.0
"""A digest of the VIPs and backends that a balancer runs with, the same with a store as without one."""

from __future__ import annotations

from xdplb.control.edits.overlay import release_config
from xdplb.control.state.desired import Desired
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store_copy import NO_COPY, StoreCopy
from xdplb.control.state.written import SCHEMA, all_written, written

__all__ = ["StateDigest"]


class StateDigest:
    """Follows the state: a change costs what it changes. For one thread at a time."""

    def __init__(self) -> None:
        self._of: Desired | None = None
        self._released: Desired | None = None
        self._copy: StoreCopy = NO_COPY

    def of(self, snapshot: Snapshot) -> str:
        """Return the digest in hex; who owns the state, an API or a file, does not count."""
        if snapshot.copy.lineage and not snapshot.copy.pending:
            return str(snapshot.copy.digest)
        if snapshot.desired is not self._of:
            after = release_config(snapshot.desired)
            before = self._released
            made = all_written(after) if before is None else written(before, after, 1, self._copy)
            self._of, self._released = snapshot.desired, after
            self._copy = StoreCopy(digest=made.digest, head={"schema": SCHEMA, **made.settings})
        return str(self._copy.digest)
