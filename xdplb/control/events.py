"""What happens, as typed events: to what, by whom and why. Each is said once, and its log line is made from it.

A new kind of event is a dataclass here with the fields that its log line shows, and one call of `Events.say` where it
happens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar

__all__ = [
    "DAEMON",
    "Actor",
    "CaptureBegan",
    "CaptureEnded",
    "CaptureStuck",
    "ChangeMade",
    "CheckBroke",
    "DrainMoved",
    "Event",
    "Events",
    "FlowScanFailed",
    "HealthChanged",
    "MapsRestored",
    "NextHopChanged",
    "ReconcileFailed",
    "Say",
    "SlotsPinned",
    "SlotsSteady",
    "StaleFlowsDeleted",
    "TablePublished",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change: a process on the Unix socket with its user and pid, a peer on TCP, or the daemon itself.

    `name` says which; `uid` and `pid` are None but for a process on the Unix socket.
    """

    name: str
    uid: int | None = None
    pid: int | None = None

    def __str__(self) -> str:
        return self.name if self.uid is None else f"{self.name}(uid={self.uid},pid={self.pid})"


DAEMON = Actor("daemon")
"""The daemon itself."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. `TITLE` begins its log line; its fields follow by name, those that are None left out."""

    TITLE: ClassVar[str]
    LEVEL: ClassVar[int] = logging.INFO

    def line(self) -> str:
        """Return the log line."""
        shown = ((field.name, getattr(self, field.name)) for field in fields(self) if field.repr)
        pairs = " ".join(f"{name}={_shown(name, value)}" for name, value in shown if value is not None)
        return f"{self.TITLE}: {pairs}" if pairs else self.TITLE


_SENTENCES = frozenset({"reason", "error"})
"""Fields that hold a sentence, which is quoted: what it is made of may come from outside."""


def _shown(name: str, value: object) -> str:
    if name in _SENTENCES:
        return repr(str(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class ChangeMade(Event):
    """The desired state was changed; `edit` is the edit's kind, `vip` the VIP it is about, None for several."""

    TITLE = "change"
    actor: Actor
    generation: int
    edit: str
    vip: str | None


@dataclass(frozen=True, slots=True)
class HealthChanged(Event):
    """A backend's checks say otherwise than before."""

    TITLE = "health"
    LEVEL = logging.WARNING
    vip: str
    backend: str
    health: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckBroke(Event):
    """A check could not be run on this host, for a reason nobody expected."""

    TITLE = "check failed to run"
    LEVEL = logging.ERROR
    backend: str
    port: int
    error: str


@dataclass(frozen=True, slots=True)
class NextHopChanged(Event):
    """The way to a backend changed: by which interface it goes now, or why there is none."""

    TITLE = "next hop changed"
    backend: str
    interface: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class TablePublished(Event):
    """Packets see a new table of a VIP."""

    TITLE = "table published"
    vip: str
    moved_slots: int


@dataclass(frozen=True, slots=True)
class SlotsPinned(Event):
    """Moving slots of a VIP have had their time; so many of its slots are pinned now."""

    TITLE = "slots pinned"
    vip: str
    pinned_slots: int


@dataclass(frozen=True, slots=True)
class SlotsSteady(Event):
    """Pinned slots of a VIP have become steady; so many are still pinned."""

    TITLE = "slots steady"
    vip: str
    pinned_slots: int


@dataclass(frozen=True, slots=True)
class StaleFlowsDeleted(Event):
    """Flow records that nobody may find any more were deleted."""

    TITLE = "stale flow records deleted"
    records: int


@dataclass(frozen=True, slots=True)
class MapsRestored(Event):
    """The maps did not hold what was written to them; they are written again."""

    TITLE = "maps changed by somebody else"
    LEVEL = logging.ERROR
    action: str = "restore"


@dataclass(frozen=True, slots=True)
class ReconcileFailed(Event):
    """The maps could not be brought to what was asked; it is tried again."""

    TITLE = "reconcile failed"
    LEVEL = logging.ERROR
    retry_seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class FlowScanFailed(Event):
    """The flow table could not be read; it is tried again."""

    TITLE = "flow scan failed"
    LEVEL = logging.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class DrainMoved(Event):
    """A drain began, or came to where no connection or no time is left; `flows` are those left, None if not known."""

    TITLE = "drain"
    vip: str
    backend: str
    state: str
    flows: int | None


@dataclass(frozen=True, slots=True)
class CaptureBegan(Event):
    """A capture runs, of this VIP or client, or of any."""

    TITLE = "capture begun"
    vip: str
    client: str


@dataclass(frozen=True, slots=True)
class CaptureEnded(Event):
    """The capture is over, and the program what it was before."""

    TITLE = "capture ended"


@dataclass(frozen=True, slots=True)
class CaptureStuck(Event):
    """The capture is over, but the program could not be put back to what it was."""

    TITLE = "capture ended, but the program goes on handing packets out"
    LEVEL = logging.ERROR
    error: str


Say = Callable[[Event], None]
"""Says an event. It may be called in any thread."""


class Events:
    """Where events go: to the log, and to whoever listens."""

    def __init__(self) -> None:
        self._listeners: list[Say] = []

    def listen(self, listener: Say) -> None:
        """Have `listener` called with every event from now on, in the thread in which it happens."""
        self._listeners.append(listener)

    def say(self, event: Event, *, trace: BaseException | None = None) -> None:
        """Write the event's log line, with a traceback of `trace` if there is one, and tell whoever listens."""
        log.log(event.LEVEL, "%s", event.line(), exc_info=trace)
        for listener in self._listeners:
            listener(event)
