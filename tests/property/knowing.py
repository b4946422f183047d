# SPDX-License-Identifier: Apache-2.0
"""What a control plane without tasks knows, kept as changes and failed checks come one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from tests.fakes import FakeNextHops
from xdplb.control.edits.apply import apply_edit
from xdplb.control.health.known import health_after, reissued
from xdplb.control.plan.eligibility import Observed
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.touched import touched
from xdplb.control.writing.dirty import Dirty, Index
from xdplb.dataplane.plane import Capacity
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.errors import XdplbError

__all__ = ["CAPACITY", "FLIPS", "Knowing"]

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CAPACITY = Capacity(vips=4, backends=64)
FLIPS = st.dictionaries(st.integers(1, 9), st.sampled_from([Health.UP, Health.UP, Health.DOWN]), max_size=4)


class Knowing:
    """The state, the health of its backends, and what is `dirty`: whoever brings that to the maps clears it."""

    def __init__(self) -> None:
        self.snapshot, self.index, self.dirty = Snapshot(), Index(), Dirty(everything=False)
        self.health: dict[int, KnownHealth] = {}
        self.hops = FakeNextHops().known()

    def apply(self, edit: Any) -> bool:
        """Make a change; return whether it was one, and not refused."""
        before = self.snapshot
        try:
            desired = apply_edit(before.desired, edit, NOW)
        except XdplbError:
            return False
        if desired is before.desired:
            return False
        self.snapshot = before.then(desired, CAPACITY)
        changes = touched(before, self.snapshot)
        changed = health_after(changes, self.health, NOW)
        for backend_id in reissued(changes):
            self.health.pop(backend_id, None)
        self.health |= changed
        self.index.follow(self.snapshot, changes)
        self.dirty.note(changes)
        return True

    def note(self, backend_id: int, health: Health) -> None:
        """Let a check of this backend have found this."""
        self.health[backend_id] = KnownHealth(health, "", NOW)
        self.dirty.touch(self.index.backend(backend_id)[0].id, [backend_id])

    def seen(self) -> Observed:
        """Return what is known, as input of a plan."""
        return Observed(dict(self.health), self.hops)
