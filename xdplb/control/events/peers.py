# SPDX-License-Identifier: Apache-2.0
"""Events of the other nodes of a cluster, and of what they tell of open connections."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["PeerAppeared", "PeerKeysNotRead", "PeerKeysRead", "PeerLost", "RecordsNotPulled", "RecordsPulled"]


@dataclass(frozen=True, slots=True)
class PeerAppeared(Event):
    """A peer answers, for the first time or again: records go to it from now on."""

    KIND = "peer_appeared"
    TITLE = "peer appeared"
    LEVEL = Level.NOTICE
    peer: str
    place: str
    version: str
    generation: int


@dataclass(frozen=True, slots=True)
class PeerLost(Event):
    """A peer has not been heard of for some seconds: it stopped, died, or the network between is cut."""

    KIND = "peer_lost"
    TITLE = "peer lost"
    LEVEL = Level.WARNING
    peer: str
    place: str


@dataclass(frozen=True, slots=True)
class RecordsPulled(Event):
    """What a peer knows of open connections was asked for and taken over; `reason` says why it was asked."""

    KIND = "records_pulled"
    TITLE = "records pulled"
    LEVEL = Level.INFO
    peer: str
    records: int
    slots: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class RecordsNotPulled(Event):
    """What a peer knows of open connections could not be taken over. It is tried again."""

    KIND = "records_not_pulled"
    TITLE = "records not pulled"
    LEVEL = Level.WARNING
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerKeysRead(Event):
    """The key file of the peers was read again: so many keys are accepted, and the first one signs."""

    KIND = "peer_keys_read"
    TITLE = "keys of the peers read again"
    LEVEL = Level.NOTICE
    file: str
    keys: int


@dataclass(frozen=True, slots=True)
class PeerKeysNotRead(Event):
    """The key file of the peers is of no use. The keys that are in use stay."""

    KIND = "peer_keys_not_read"
    TITLE = "keys of the peers are not read again"
    LEVEL = Level.ERROR
    file: str
    reason: str
