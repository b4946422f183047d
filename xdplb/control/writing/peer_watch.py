# SPDX-License-Identifier: Apache-2.0
"""The peers, as the control plane has to do with them: what they tell is taken, and what they must know is sent.

It decides nothing: records are for RecordSync, hints make checks run at once, and all else is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from xdplb.control.events import Events, PeerAppeared, PeerKeysNotRead, PeerKeysRead, PeerLost
from xdplb.control.flows.settle import PEERS_LATE_SECONDS
from xdplb.control.health.health_source import HealthSource
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.own_status import OwnStatus
from xdplb.control.writing.peer_drifts import PeerDrifts
from xdplb.control.writing.peer_hints import PeerHints
from xdplb.control.writing.peer_pulls import PeerPulls
from xdplb.control.writing.pulses import Pulses
from xdplb.control.writing.record_sync import RecordSync, SyncCounts
from xdplb.control.writing.writer import Writer
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health
from xdplb.model.errors import PlatformError
from xdplb.model.key import VipKey
from xdplb.model.shared_record import SharedRecords
from xdplb.peers.addresses import Place
from xdplb.peers.counts import PeerCounts
from xdplb.peers.exchange import Exchange, Peer
from xdplb.peers.hints import Hint
from xdplb.peers.peering import Peering

__all__ = ["NO_PEERS", "PeerWatch", "PeersView"]

_LOOK_SECONDS = 1.0
_FIRST_SECONDS = 2.0
"""How long a start waits for peers, at most."""
_PULL_SECONDS = 10.0
"""How long it waits for what those know that are there."""
_MORE_SECONDS = 0.3
"""How long it waits for others once one has answered."""
_MOST_UNTAKEN = 50_000
"""Records that the control loop has not taken yet. More are not kept, but pulled when it has."""


@dataclass(frozen=True, slots=True)
class PeersView:
    """How it stands with the peers, for whoever shows it. `listens` says where this node listens to them."""

    listens: tuple[Place, ...]
    peers: tuple[Peer, ...]
    counts: PeerCounts
    records: SyncCounts


NO_PEERS = PeersView((), (), PeerCounts(), SyncCounts())
"""That of a node that has none."""


class PeerWatch:
    """Talks to the peers of `peering`. Used in the event loop. `status` is what this node tells them of itself."""

    def __init__(
        self,
        peering: Peering,
        records: RecordSync,
        writer: Writer,
        *,
        checker: HealthSource | None,
        status: OwnStatus,
        events: Events,
        drifts: Drifts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peering, self._records, self._writer = peering, records, writer
        writer.applier.peers_late_seconds = PEERS_LATE_SECONDS  # from the first table on, long before they are there
        self._status, self._events, self._clock = status, events, clock
        self._exchange = Exchange(peering.sockets, peering.keys, status, _Ear(self))
        self._drifts = PeerDrifts(drifts, clock)
        self._pulls = PeerPulls(
            peering.puller, records, self._exchange.counts, events=events, drifts=self._drifts, clock=clock
        )
        self._hints = PeerHints(checker, writer.backends_other, clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._came = asyncio.Event()
        self._untaken = 0

    @property
    def view(self) -> PeersView:
        """How it stands, in any thread."""
        places = tuple(self._exchange.places)
        return PeersView(places, self._exchange.peers, self._exchange.counts, self._records.counts)

    async def start(self) -> None:
        """Begin to talk to the peers, and take over what they know. Waits for 2 s at most if none answers."""
        self._loop = asyncio.get_running_loop()
        self._records.on_new = self._exchange.send_records
        self._records.on_gap = self._exchange.tell_missing
        self._writer.on_flipped = self._flipped
        await self._records.start()
        self._exchange.start(self._peering.peers)
        if self._peering.peers:
            await self._catch_up(len(self._peering.peers))

    async def run(self) -> None:
        """Forever: pull what is missing, and tell what is not as it should be."""
        while True:
            self._begin_pulls()
            self._drifts.look(self._status.last, self._exchange.peers)
            await self._wait(_LOOK_SECONDS)

    async def stop(self) -> None:
        """Say nothing any more."""
        self._pulls.stop()
        await self._records.stop()
        await asyncio.to_thread(self._exchange.stop)

    def watch_thread(self, pulses: Pulses) -> None:
        """Have the thread that talks to the peers watched."""
        meaning = "peers are not told of connections, and do not hear of this node"
        pulses.watch("peers thread", self._exchange.ask, meaning, vital=False)

    def found(self, places: Iterable[Place]) -> None:
        """Talk to these peers, too, which the store names, and no more to those that it named before."""
        own = set(self._exchange.places)
        self._exchange.name_peers([*self._peering.peers, *(place for place in places if place not in own)])

    async def read_keys(self) -> None:
        """Read the key file again. If it is of no use, that is told, and the keys in use stay."""
        file = str(self._peering.key_file)
        try:
            keys = await asyncio.to_thread(self._peering.read_keys)
        except PlatformError as error:
            self._events.say(PeerKeysNotRead(file, error.detail))
            return
        self._exchange.use_keys(keys)
        self._events.say(PeerKeysRead(file, len(keys.keys)))

    async def _catch_up(self, named: int) -> None:
        """Wait for the peers, and pull from those that answer."""
        end, is_first = self._clock() + _FIRST_SECONDS, True
        up: list[Peer] = []
        while (now := self._clock()) < end:
            up = [peer for peer in self._exchange.peers if peer.is_up]
            if len(up) >= named:
                break
            if up and is_first:
                is_first, end = False, min(end, now + _MORE_SECONDS)
            await self._wait(end - now)
        if not up:
            self._drifts.alone_at_start(named, _FIRST_SECONDS)
        for peer in up:
            self._pulls.want(peer.place, "this node has started")
        self._begin_pulls()
        await self._pulls.wait(_PULL_SECONDS)

    def _begin_pulls(self) -> None:
        self._pulls.begin({peer.place: peer for peer in self._exchange.peers})

    async def _wait(self, seconds: float) -> None:
        """Wait until something has come from a peer that is to be looked at, for so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._came.wait()
        except TimeoutError:
            return
        self._came.clear()

    def _flipped(self, flipped: Iterable[tuple[VipKey, IPAddress]], health: Health) -> None:
        self._exchange.send_hints(self._hints.of(flipped, health))

    def take_hints(self, hints: Sequence[Hint]) -> None:
        """Act on hints of peers."""
        self._hints.take(hints)

    def peer_came(self, peer: Peer) -> None:
        """Tell that a peer is there."""
        status = peer.status
        version, generation = ("", 0) if status is None else (status.version, status.generation)
        self._events.say(PeerAppeared(peer.name, str(peer.place), version, generation))
        self._came.set()

    def peer_went(self, peer: Peer) -> None:
        """Tell that a peer is silent; what it sent last over this link may be missing, if it is there by another."""
        self._events.say(PeerLost(peer.name, str(peer.place)))
        for other in self._exchange.peers:
            if other.boot == peer.boot and other.is_up:
                self.missed(other.place, "another link to it was cut")

    def missed(self, place: Place, reason: str) -> None:
        """Pull from the peer there, since something it sent is missing."""
        self._pulls.want(place, reason)
        self._came.set()

    def wrong_key(self, place: Place) -> None:
        """Note that somebody there signs with another key."""
        self._drifts.wrong_key(place)

    def hand_over(self, records: SharedRecords) -> None:
        """Have records of a peer taken in the event loop. Called in another thread, which never waits."""
        if self._untaken > _MOST_UNTAKEN:
            self._exchange.counts.records_dropped += len(records)
            self.there(self._missed_some)
            return
        self._untaken += len(records)
        self.there(lambda: self._take(records))

    def there(self, work: Callable[[], object]) -> None:
        """Have `work` done in the event loop. May be called in any thread."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(work)
            except RuntimeError:  # it has ended
                return

    def _take(self, records: SharedRecords) -> None:
        self._untaken -= len(records)
        self._records.take(records)

    def _missed_some(self) -> None:
        for peer in self._exchange.peers:
            self.missed(peer.place, "more came at once than this node could take")


class _Ear:
    """Hears what the exchange tells, in its thread, and passes it on to the event loop."""

    def __init__(self, watch: PeerWatch) -> None:
        self._watch = watch

    def records_came(self, records: SharedRecords) -> None:
        self._watch.hand_over(records)

    def hints_came(self, hints: list[Hint]) -> None:
        self._watch.there(lambda: self._watch.take_hints(hints))

    def peer_came(self, peer: Peer) -> None:
        self._watch.there(lambda: self._watch.peer_came(peer))

    def peer_went(self, peer: Peer) -> None:
        self._watch.there(lambda: self._watch.peer_went(peer))

    def records_missed(self, peer: Peer, lost: int) -> None:
        reason = f"{lost} datagrams of it were lost" if lost else "it was not heard of before"
        self._watch.there(lambda: self._watch.missed(peer.place, reason))

    def wrong_key_came(self, place: Place) -> None:
        self._watch.there(lambda: self._watch.wrong_key(place))
