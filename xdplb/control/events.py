"""Typed events: what happened, to what, by whom and why. Each is emitted once, and its log line is made from it.

To add a kind of event, add a dataclass here with the fields of its log line, and call `Events.say` where it happens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar

from xdplb.control.edits.edit import Edit
from xdplb.model.printable import quoted, word
from xdplb.model.role import Role

__all__ = [
    "DAEMON",
    "Actor",
    "ActorKind",
    "CaptureBegan",
    "CaptureEnded",
    "CaptureStuck",
    "ChangeMade",
    "CheckBroke",
    "ChecksNotRun",
    "ChecksRunAgain",
    "DrainChanged",
    "Event",
    "Events",
    "FlowScanFailed",
    "HealthChanged",
    "MapsRestored",
    "NextHopChanged",
    "NicAttached",
    "NicDown",
    "NicLost",
    "NicUp",
    "NicsUnknown",
    "PathErrorsUnheard",
    "PathMtuLowered",
    "PathMtuOver",
    "PathTrouble",
    "PinsNotRestored",
    "PinsRestored",
    "ReconcileFailed",
    "Say",
    "SlotsPinned",
    "SlotsSteady",
    "StaleFlowsDeleted",
    "StateNotWritable",
    "StateRestored",
    "StateWritable",
    "TablePublished",
    "VerifyFailed",
    "VipInTheWay",
]

log = logging.getLogger(__name__)


class ActorKind(StrEnum):
    """How somebody asks for a change."""

    UNIX = "unix"
    """A process on the Unix socket."""
    TCP = "tcp"
    """A peer on TCP, with a token or a certificate."""
    FILE = "file"
    """The config file."""
    DAEMON = "daemon"
    """The daemon itself."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change. What is not known, or does not go with its kind, is None.

    On the Unix socket `uid`, `user` (its name) and `pid` are of the process. On TCP `peer` is `ADDRESS:PORT`, and
    `token` the name of the token or `certificate` the subject of the client's certificate. `file` is the path of the
    config file. `role` says what it may do.
    """

    kind: ActorKind
    uid: int | None = None
    pid: int | None = None
    user: str | None = None
    token: str | None = None
    certificate: str | None = None
    peer: str | None = None
    role: Role | None = None
    file: str | None = None

    def __str__(self) -> str:
        """Return it as log lines have it: `unix(uid=0,pid=4711,role=admin)`, `tcp(peer=192.0.2.7:4000,token=ci)`."""
        known = ",".join(f"{name}={_plain(str(value))}" for name, value in self.data().items() if name != "kind")
        return f"{self.kind}({known})" if known else str(self.kind)

    def data(self) -> dict[str, Any]:
        """Return what is known of it, as JSON."""
        values = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in values if value is not None}


def _plain(value: str) -> str:
    """Return `value`, in quotes if it could be taken for several: whoever has a certificate made chooses its words."""
    return repr(value) if any(sign in value for sign in ",()'") else word(value)


DAEMON = Actor(ActorKind.DAEMON)
"""The daemon itself."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event. Its log line is `TITLE`, then its fields as `name=value`, except those that are None.

    No more than `LINES` of one kind are written to the log in 10 s; then one more says how many came.
    """

    TITLE: ClassVar[str]
    LEVEL: ClassVar[int] = logging.INFO
    LINES: ClassVar[int] = 50

    def __str__(self) -> str:
        return self.line()

    def line(self) -> str:
        """Return the log line."""
        shown = ((one.name, getattr(self, one.name)) for one in fields(self) if one.repr)
        pairs = " ".join(f"{name}={_shown(name, value)}" for name, value in shown if value is not None)
        return f"{self.TITLE}: {pairs}" if pairs else self.TITLE


_SENTENCES = frozenset({"reason", "error"})
"""Fields that hold a sentence, and are always quoted. Of the others, only what is not one plain word is."""


def _shown(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return quoted(str(value)) if name in _SENTENCES else word(str(value))


@dataclass(frozen=True, slots=True)
class ChangeMade(Event):
    """The desired state was changed: `edit` is the kind of edit, `vip` and `backend` what it changed.

    `asked` is the edit itself. `vip` is None for a batch, `backend` for an edit of a VIP.
    """

    TITLE = "change"
    LINES = 1000
    actor: Actor
    generation: int
    edit: str
    vip: str | None
    backend: str | None
    asked: Edit = field(repr=False)  # an access list may be megabytes: not in the log line


@dataclass(frozen=True, slots=True)
class HealthChanged(Event):
    """A backend's health changed."""

    TITLE = "health"
    LEVEL = logging.WARNING
    LINES = 2000  # a host that dies may be a backend of a thousand VIPs
    vip: str
    backend: str
    health: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckBroke(Event):
    """A check could not be run on this host, because of an unexpected error."""

    TITLE = "check failed to run"
    LEVEL = logging.ERROR
    backend: str
    port: int
    error: str


@dataclass(frozen=True, slots=True)
class ChecksNotRun(Event):
    """Checks have had no result for too long, since this host cannot run them: a backend that fails is not noticed."""

    TITLE = "health checks cannot be run"
    LEVEL = logging.ERROR
    reason: str


@dataclass(frozen=True, slots=True)
class ChecksRunAgain(Event):
    """All checks have had a result in time again."""

    TITLE = "health checks run again"
    LEVEL = logging.WARNING
    seconds: float


@dataclass(frozen=True, slots=True)
class NextHopChanged(Event):
    """The next hop of a backend changed: by which interface and at which MAC it is reached now, or why it is not."""

    TITLE = "next hop changed"
    LINES = 500
    backend: str
    interface: str | None
    mac: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PathMtuLowered(Event):
    """A router said that the path to a backend takes no more than `mtu` bytes; it is believed until `until`."""

    TITLE = "path MTU lowered"
    backend: str
    mtu: int
    router: str
    until: str


@dataclass(frozen=True, slots=True)
class PathMtuOver(Event):
    """What a router said of the MTU of the path to a backend was ten minutes ago: longer packets are tried again."""

    TITLE = "path MTU tried again"
    backend: str
    mtu: int | None


@dataclass(frozen=True, slots=True)
class PathTrouble(Event):
    """A router or the backend itself sent an ICMP error about packets in the tunnel to it; said once a while."""

    TITLE = "path trouble"
    LEVEL = logging.WARNING
    backend: str
    forward: str
    reason: str


@dataclass(frozen=True, slots=True)
class PathErrorsUnheard(Event):
    """ICMP errors about packets in tunnels cannot be read, so the MTUs of paths are not learnt."""

    TITLE = "ICMP errors about tunnels are not heard"
    LEVEL = logging.WARNING
    error: str


@dataclass(frozen=True, slots=True)
class VipInTheWay(Event):
    """A VIP has an address of this host, and is in the way of connections that the host opens itself."""

    TITLE = "a VIP is in the way of this host's own connections"
    LEVEL = logging.WARNING
    vip: str
    reason: str


@dataclass(frozen=True, slots=True)
class NicAttached(Event):
    """The program is on a NIC that was asked for, in this mode; `reason` says why not in native mode, if asked for."""

    TITLE = "NIC attached"
    interface: str
    ifindex: int
    mode: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class NicLost(Event):
    """The program is not on a NIC that was asked for. It is attached as soon as that is possible."""

    TITLE = "NIC not attached"
    LEVEL = logging.WARNING
    interface: str
    reason: str


@dataclass(frozen=True, slots=True)
class PinsRestored(Event):
    """Another process has removed these pins. They are there again, and packets were forwarded meanwhile."""

    TITLE = "pins restored"
    LEVEL = logging.WARNING
    count: int
    names: str


@dataclass(frozen=True, slots=True)
class PinsNotRestored(Event):
    """Pins were removed and cannot be made again. Packets are forwarded as long as the daemon runs, and no longer."""

    TITLE = "pins not restored"
    LEVEL = logging.ERROR
    reason: str


@dataclass(frozen=True, slots=True)
class NicDown(Event):
    """A NIC has the program, but carries no packets."""

    TITLE = "NIC out of service"
    LEVEL = logging.WARNING
    interface: str
    reason: str


@dataclass(frozen=True, slots=True)
class NicUp(Event):
    """A NIC that has the program carries packets again."""

    TITLE = "NIC in service"
    interface: str


@dataclass(frozen=True, slots=True)
class NicsUnknown(Event):
    """It could not be found out which NICs have the program; it is tried again."""

    TITLE = "the NICs cannot be looked at"
    LEVEL = logging.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class TablePublished(Event):
    """A new table of a VIP was published to the packet path."""

    TITLE = "table published"
    vip: str
    moved_slots: int


@dataclass(frozen=True, slots=True)
class SlotsPinned(Event):
    """Moving slots of a VIP were pinned after its idle timeout; `pinned_slots` of its slots are pinned now."""

    TITLE = "slots pinned"
    vip: str
    pinned_slots: int


@dataclass(frozen=True, slots=True)
class SlotsSteady(Event):
    """Pinned slots of a VIP became steady; `pinned_slots` are still pinned."""

    TITLE = "slots steady"
    vip: str
    pinned_slots: int


@dataclass(frozen=True, slots=True)
class StaleFlowsDeleted(Event):
    """Flow records were deleted that must not be found any more."""

    TITLE = "stale flow records deleted"
    records: int


@dataclass(frozen=True, slots=True)
class MapsRestored(Event):
    """A map did not hold what xdplb wrote to it; that was written again."""

    TITLE = "map changed by another process, and written again"
    LEVEL = logging.ERROR
    map: str


@dataclass(frozen=True, slots=True)
class VerifyFailed(Event):
    """The maps could not be read to see whether they hold what was written."""

    TITLE = "maps cannot be verified"
    LEVEL = logging.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class ReconcileFailed(Event):
    """The maps could not be brought to the desired state; it is retried."""

    TITLE = "reconcile failed"
    LEVEL = logging.ERROR
    retry_seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class StateNotWritable(Event):
    """The state cannot be written: changes are refused until it can."""

    TITLE = "state not writable"
    LEVEL = logging.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class StateRestored(Event):
    """What is stored was removed while the daemon ran, and has been written again; `what` became of it."""

    TITLE = "state written again"
    LEVEL = logging.WARNING
    what: str


@dataclass(frozen=True, slots=True)
class StateWritable(Event):
    """The state can be written again."""

    TITLE = "state writable again"


@dataclass(frozen=True, slots=True)
class FlowScanFailed(Event):
    """The flow table could not be read; it is retried."""

    TITLE = "flow scan failed"
    LEVEL = logging.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class DrainChanged(Event):
    """A drain started, or no connection or no time is left; `flows` are the connections left, None if not known."""

    TITLE = "drain"
    LINES = 1000
    vip: str
    backend: str
    state: str
    flows: int | None


@dataclass(frozen=True, slots=True)
class CaptureBegan(Event):
    """A capture started, of this VIP and client, or of any."""

    TITLE = "capture started"
    vip: str
    client: str


@dataclass(frozen=True, slots=True)
class CaptureEnded(Event):
    """The capture ended, and the program was restored."""

    TITLE = "capture ended"


@dataclass(frozen=True, slots=True)
class CaptureStuck(Event):
    """The capture ended, but the program could not be restored."""

    TITLE = "capture ended, but the program still hands out packets"
    LEVEL = logging.ERROR
    error: str


Say = Callable[[Event], None]
"""Takes an event. It may be called in any thread."""


class Events:
    """Sends events to the log and to the listeners."""

    def __init__(self) -> None:
        self._listeners: list[Say] = []

    def listen(self, listener: Say) -> None:
        """Call `listener` with every event from now on, in the thread in which it happens."""
        self._listeners.append(listener)

    def say(self, event: Event, *, trace: BaseException | None = None) -> None:
        """Write the event's log line, with the traceback of `trace` if given, and call the listeners."""
        about = {"kind": event.TITLE, "lines": event.LINES}
        # The line is made when it is written, which is not in the control loop: a thousand backends may fail at once.
        log.log(event.LEVEL, "%s", event, exc_info=trace, extra=about)
        for listener in self._listeners:
            listener(event)
