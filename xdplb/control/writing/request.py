"""A requested change and its outcome: values that can be logged, shown and sent on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from xdplb.control.edits.edit import Edit
from xdplb.control.events import DAEMON, Actor
from xdplb.control.plan.impact import NO_IMPACT, Impact
from xdplb.control.state.snapshot import Snapshot
from xdplb.model.backend import KnownHealth

__all__ = ["Outcome", "Request"]


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
