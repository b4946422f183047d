"""Events of the desired state: what was changed, and by whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdplb.control.edits.edit import Edit
from xdplb.control.events.actor import Actor
from xdplb.control.events.base import Event, Level

__all__ = ["ChangeCameOut", "ChangeMade"]


@dataclass(frozen=True, slots=True)
class ChangeMade(Event):
    """The desired state was changed: `edit` is the kind of edit, `vip` and `backend` what it changed.

    `asked` is the edit itself. `vip` is None for a batch, `backend` for an edit of a VIP.
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
    asked: Edit = field(repr=False)  # an access list may be megabytes: not in the log line


@dataclass(frozen=True, slots=True)
class ChangeCameOut(Event):
    """What a change did to traffic, as far as counters tell, `seconds` after the maps had it.

    `slots_moved` are the slots that got another owner, `flows_lost` the recorded flows whose backend lost all its
    traffic, None without a recent scan. `at_risk_packets` are the packets of open connections that no record could
    place, of the VIPs that it touched: 0 if no connection broke by a move. `at_most` are the connections that it may
    have broken, as foretold: those that were open, of what was cut off.
    """

    KIND = "change_came_out"
    TITLE = "change came out"
    generation: int
    vips: int
    slots_moved: int
    flows_lost: int | None
    at_most: int | None
    at_risk_packets: int
    seconds: float
