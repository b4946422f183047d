# SPDX-License-Identifier: Apache-2.0
"""A requested change and its outcome: values that can be logged, shown and sent on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from xdplb.control.edits.edit import Edit, backend_of_edit, kind_of, vip_of_edit
from xdplb.control.events import DAEMON, Actor, ChangeMade
from xdplb.control.plan.desired_diff import diff
from xdplb.control.plan.impact import NO_IMPACT, Impact
from xdplb.control.state.snapshot import Snapshot
from xdplb.model.backend import KnownHealth

__all__ = ["Outcome", "Request", "event_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to change (`edit`) and who asks for it (`actor`).

    `if_match` is the generation that the edit's target must still be at, None for any. With `dry_run` nothing is
    changed. `at` (UTC) is when it was asked, None for now: a drain begins then, on every balancer that is asked.
    """

    edit: Edit
    actor: Actor = DAEMON
    if_match: int | None = None
    dry_run: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The state before and after a change (the same object if nothing changes), and its impact.

    In a dry run, `after` is the state that the change would give. `health` is the health of the backends in `after`, by
    id, as known at that time.
    """

    before: Snapshot
    after: Snapshot
    health: Mapping[int, KnownHealth]
    impact: Impact = NO_IMPACT

    @property
    def is_change(self) -> bool:
        """Whether the desired state differs after it."""
        return self.after is not self.before

    @property
    def generation(self) -> int:
        """The generation after it."""
        return self.after.generation


def event_of(request: Request, outcome: Outcome) -> ChangeMade:
    """Return the event of a change that is being made now."""
    vip, backend = vip_of_edit(request.edit), backend_of_edit(request.edit)
    impact = outcome.impact
    if not impact.changes:  # what it does to traffic is not known, since the maps cannot be read
        impact = replace(impact, changes=diff(outcome.before.desired, outcome.after.desired))
    return ChangeMade(
        actor=request.actor,
        generation=outcome.generation,
        edit=kind_of(request.edit),
        vip=None if vip is None else str(vip),
        backend=None if backend is None else str(backend),
        asked=request.edit,
        impact=impact,
        at=time.time_ns(),
    )
