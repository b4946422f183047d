# SPDX-License-Identifier: Apache-2.0
"""What a change will do, kept while it waits for the store that balancers share, so that it is not planned twice."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.dirty import Dirty
from xdplb.control.writing.preparer import Prepared
from xdplb.control.writing.request import Outcome

__all__ = ["Foreseen"]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A change as it was prepared: `dirty` is what was so before, `noted` with what the change touches.

    `times_brought` says how often the maps had been brought to the desired state.
    """

    outcome: Outcome
    prepared: Prepared
    dirty: Dirty
    noted: Dirty
    times_brought: int

    def is_still_so(
        self, before: Snapshot, after: Snapshot, dirty: Dirty, times_brought: int, applier: Applier
    ) -> bool:
        """Return whether this change can be made as it was planned: nothing has been observed since, or changed.

        A next hop that is found of a backend which is not known yet is not noted anywhere: such a change is planned
        anew.
        """
        planned = self.outcome
        return (
            self.prepared.forecast is not None
            and planned.before is before
            and planned.after.desired is after.desired
            and planned.after.vips is after.vips
            and self.dirty == dirty
            and self.times_brought == times_brought
            and applier.holds(self.prepared.forecast)
            and not self._has_new_addresses()
        )

    def _has_new_addresses(self) -> bool:
        known = self.outcome.before.desired.places.backends
        return any(backend.backend.address not in known for each in self.prepared.changes for backend in each.got)
