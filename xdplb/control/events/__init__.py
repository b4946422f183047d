# SPDX-License-Identifier: Apache-2.0
"""Typed events: what happened, to what, by whom and why. Each is emitted once, and its log line is made from it.

To add a kind, add a dataclass to the file of its theme and its name here, and call `Events.say` where it happens.
"""

from xdplb.control.events.actor import DAEMON, Actor, ActorKind
from xdplb.control.events.announcing import Announced, TrackFileWritten, Withdrawn
from xdplb.control.events.base import Event, Events, Level, Say
from xdplb.control.events.capture import CaptureBegan, CaptureEnded, CaptureStuck
from xdplb.control.events.changes import ChangeCameOut, ChangeMade
from xdplb.control.events.config import ConfigRefused, ConfigReleased, ConfigTaken, ReloadedWithoutConfig
from xdplb.control.events.daemon import DaemonStarted, DaemonStopped, ProgramSwapped, TookOver
from xdplb.control.events.dns import (
    DnsKeptLast,
    DnsLeftBehind,
    DnsNotOurs,
    DnsPublished,
    DnsReleased,
    DnsWithdrawn,
)
from xdplb.control.events.drains import DrainChanged
from xdplb.control.events.drift import DriftFound, DriftKind, DriftOver
from xdplb.control.events.health import (
    AgentSaid,
    BackendHeld,
    BackendNotHeld,
    CheckBroke,
    ChecksNotRun,
    ChecksRunAgain,
    HealthChanged,
)
from xdplb.control.events.history import EventsKeptAgain, EventsLost, EventsNotKept
from xdplb.control.events.next_hops import NextHopChanged, PathErrorsUnheard, PathMtuLowered, PathMtuOver, PathTrouble
from xdplb.control.events.nics import NicAttached, VipInTheWay
from xdplb.control.events.nodes import NodeDrainBegan, NodeDrained, NodeServes
from xdplb.control.events.notify import NotifyFailing, NotifyRefused, NotifyWorks
from xdplb.control.events.passive import (
    BackendDiffers,
    BackendEjected,
    BackendNotEjected,
    BackendReturned,
    HandshakesNotRead,
)
from xdplb.control.events.peers import (
    PeerAppeared,
    PeerKeysNotRead,
    PeerKeysRead,
    PeerLost,
    RecordsNotPulled,
    RecordsPulled,
)
from xdplb.control.events.policies import PolicyChanged, SlowStartBegan, SlowStartEnded
from xdplb.control.events.programs import ProgramKept, ProgramRolledBack, SwapNotWatched
from xdplb.control.events.rights import (
    AuthenticationFailed,
    RequestForbidden,
    TlsNotReloaded,
    TlsReloaded,
    TokenAdded,
    TokenRemoved,
)
from xdplb.control.events.state import StateNotWritable, StateRestored, StateWritable
from xdplb.control.events.store import (
    PendingDropped,
    PendingWritten,
    StoreAway,
    StoreBack,
    StoreDiverged,
    StoreJoined,
    StoreWritten,
)
from xdplb.control.events.tables import FlowScanFailed, SlotsPinned, SlotsSteady, StaleFlowsDeleted, TablePublished
from xdplb.control.events.threads import ThreadGoesOn, ThreadHangs
from xdplb.control.events.vips import VipStatusChanged

__all__ = [
    "DAEMON",
    "KINDS",
    "Actor",
    "ActorKind",
    "AgentSaid",
    "Announced",
    "AuthenticationFailed",
    "BackendDiffers",
    "BackendEjected",
    "BackendHeld",
    "BackendNotEjected",
    "BackendNotHeld",
    "BackendReturned",
    "CaptureBegan",
    "CaptureEnded",
    "CaptureStuck",
    "ChangeCameOut",
    "ChangeMade",
    "CheckBroke",
    "ChecksNotRun",
    "ChecksRunAgain",
    "ConfigRefused",
    "ConfigReleased",
    "ConfigTaken",
    "DaemonStarted",
    "DaemonStopped",
    "DnsKeptLast",
    "DnsLeftBehind",
    "DnsNotOurs",
    "DnsPublished",
    "DnsReleased",
    "DnsWithdrawn",
    "DrainChanged",
    "DriftFound",
    "DriftKind",
    "DriftOver",
    "Event",
    "Events",
    "EventsKeptAgain",
    "EventsLost",
    "EventsNotKept",
    "FlowScanFailed",
    "HandshakesNotRead",
    "HealthChanged",
    "Level",
    "NextHopChanged",
    "NicAttached",
    "NodeDrainBegan",
    "NodeDrained",
    "NodeServes",
    "NotifyFailing",
    "NotifyRefused",
    "NotifyWorks",
    "PathErrorsUnheard",
    "PathMtuLowered",
    "PathMtuOver",
    "PathTrouble",
    "PeerAppeared",
    "PeerKeysNotRead",
    "PeerKeysRead",
    "PeerLost",
    "PendingDropped",
    "PendingWritten",
    "PolicyChanged",
    "ProgramKept",
    "ProgramRolledBack",
    "ProgramSwapped",
    "RecordsNotPulled",
    "RecordsPulled",
    "ReloadedWithoutConfig",
    "RequestForbidden",
    "Say",
    "SlotsPinned",
    "SlotsSteady",
    "SlowStartBegan",
    "SlowStartEnded",
    "StaleFlowsDeleted",
    "StateNotWritable",
    "StateRestored",
    "StateWritable",
    "StoreAway",
    "StoreBack",
    "StoreDiverged",
    "StoreJoined",
    "StoreWritten",
    "SwapNotWatched",
    "TablePublished",
    "ThreadGoesOn",
    "ThreadHangs",
    "TlsNotReloaded",
    "TlsReloaded",
    "TokenAdded",
    "TokenRemoved",
    "TookOver",
    "TrackFileWritten",
    "VipInTheWay",
    "VipStatusChanged",
    "Withdrawn",
]

KINDS: dict[str, type[Event]] = {
    found.KIND: found
    for found in map(globals().__getitem__, sorted(set(__all__) - {"KINDS"}))
    if isinstance(found, type) and issubclass(found, Event) and found is not Event
}
"""All kinds of events, by their name."""
