"""Events of the desired state: what was changed, and by whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdplb.control.edits.edit import Edit
from xdplb.control.events.actor import Actor
from xdplb.control.events.base import Event, Level

__all__ = [
    "ChangeMade",
]


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
