# SPDX-License-Identifier: Apache-2.0
"""Events of the desired state: what was changed, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdplb.control.edits.edit import Edit
from xdplb.control.events.actor import Actor
from xdplb.control.events.base import Event, Level
from xdplb.control.events.changed import changes_json
from xdplb.control.plan.impact import NO_IMPACT, Impact
from xdplb.control.plan.impact_data import impact_data
from xdplb.control.plan.sentences import warning_sentence

__all__ = ["ChangeCameOut", "ChangeMade"]

_MOST_ROWS, _MOST_MOVES = 50, 8
"""How many rows of the impact are kept, and moves of a table: fewer than an answer has, since events are kept long."""


@dataclass(frozen=True, slots=True)
class ChangeMade(Event):
    """The desired state was changed: `edit` is the kind of edit, `vip` and `backend` what it changed.

    `asked` is the edit itself, None if another balancer was asked. `impact` is what it changed and did, `at` when, in
    ns since 1970. `vip` is None for an edit of several, `backend` for an edit of a VIP. What it changed and did is in
    `data`, and not in the log line: an access list may be megabytes.
    """

    KIND = "change"
    TITLE = "change"
    LEVEL = Level.NOTICE
    LINES = 1000
    actor: Actor
    generation: int
    edit: str
    vip: str | None
    backend: str | None
    asked: Edit | None = field(repr=False)
    impact: Impact = field(default=NO_IMPACT, repr=False, compare=False)
    at: int = field(default=0, repr=False, compare=False)

    @property
    def happened(self) -> int | None:
        """When it was made: the state keeps it with that time, too."""
        return self.at or None

    def subjects(self) -> Sequence[tuple[str, str | None]]:
        """Return the VIPs and backends of an edit of several."""
        if self.vip is not None and self.backend is not None:
            return ()
        return [(str(one.vip), None if one.backend is None else str(one.backend)) for one in self.impact.changes]

    def data(self) -> dict[str, object]:
        """Return its fields as a JSON object, with what was before and after it, and what it did to traffic."""
        changes = changes_json(self.impact.changes)
        return {
            **super(ChangeMade, self).data(),  # a dataclass with slots is another class than the one here
            "changes": changes,
            "more_changes": len(self.impact.changes) - len(changes),
            "impact": impact_data(self.impact, rows=_MOST_ROWS, moves=_MOST_MOVES),
            "warnings": [warning_sentence(one) for one in self.impact.warnings[:_MOST_ROWS]],
        }


@dataclass(frozen=True, slots=True)
class ChangeCameOut(Event):
    """What a change did to traffic, as far as counters tell, `seconds` after the maps had it.

    `slots_moved` are the slots that got another owner, `flows_lost` the recorded flows whose backend lost all its
    traffic, None without a recent scan. `at_risk_packets` are the packets of open connections that no record could
    place, of the VIPs that it touched: 0 if no connection broke by a move. `at_most` are the connections that it may
    have broken, as foretold: those that were open, of what was cut off. `touched` are these VIPs, `vip` is the one if
    there is only one.
    """

    KIND = "change_came_out"
    TITLE = "change came out"
    generation: int
    vip: str | None
    vips: int
    slots_moved: int
    flows_lost: int | None
    at_most: int | None
    at_risk_packets: int
    seconds: float
    touched: tuple[str, ...] = field(default=(), repr=False)

    def subjects(self) -> Sequence[tuple[str, str | None]]:
        """Return the VIPs, if there are several."""
        return () if self.vip is not None else [(vip, None) for vip in self.touched]
