# SPDX-License-Identifier: Apache-2.0
"""Pulls: what peers know of open connections is asked for at the start, and whenever some of it may be missing here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from xdplb.control.events import Events, RecordsNotPulled, RecordsPulled
from xdplb.control.writing.peer_drifts import PeerDrifts
from xdplb.control.writing.record_sync import RecordSync
from xdplb.control.writing.threads import unawaited
from xdplb.model.errors import XdplbError
from xdplb.model.node_status import NodeStatus
from xdplb.peers.addresses import Place
from xdplb.peers.counts import PeerCounts
from xdplb.peers.exchange import Peer
from xdplb.peers.pull import Puller

__all__ = ["PeerPulls"]

_AGAIN_SECONDS = 1.0
_SHARE_OF_TIME = 9
"""A peer that loses datagrams all the time is asked so rarely that this takes a tenth of the time."""
_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 30.0


@dataclass(slots=True)
class _Pulls:
    """The pulls from one peer: why one is wanted ("" if none is), when it may be, and why the last one failed."""

    reason: str = ""
    not_before: float = 0.0
    retry: float = _FIRST_RETRY_SECONDS
    running: asyncio.Task[None] | None = None
    failure: str = ""

    @property
    def is_idle(self) -> bool:
        return self.running is None or self.running.done()


class PeerPulls:
    """Pulls from peers, one at a time from each. Used in the event loop."""

    def __init__(
        self,
        puller: Puller,
        records: RecordSync,
        counts: PeerCounts,
        *,
        events: Events,
        drifts: PeerDrifts,
        clock: Callable[[], float],
    ) -> None:
        self._puller, self._records, self._counts = puller, records, counts
        self._events, self._drifts, self._clock = events, drifts, clock
        self._pulls: dict[Place, _Pulls] = {}

    def want(self, place: Place, reason: str) -> None:
        """Pull from the peer there, as soon as that may be. The first reason is told."""
        pulls = self._pulls.setdefault(place, _Pulls())
        pulls.reason = pulls.reason or reason

    def begin(self, peers: Mapping[Place, Peer]) -> None:
        """Begin those that are wanted and may be, from these peers."""
        now = self._clock()
        for place in [place for place in self._pulls if place not in peers]:
            self._drifts.well(f"{place} records")
            del self._pulls[place]
        asked: set[bytes] = set()
        for place, pulls in self._pulls.items():
            peer = peers[place]
            if pulls.reason and pulls.is_idle and now >= pulls.not_before and peer.is_up and peer.status is not None:
                reason, pulls.reason = pulls.reason, ""
                if peer.boot in asked:  # the same node by another address: it is asked just now
                    continue
                asked.add(peer.boot)
                pulls.running = asyncio.create_task(self._pull(place, peer.status, pulls, reason))

    async def wait(self, seconds: float) -> None:
        """Wait for those under way, for so long at most."""
        running = [pulls.running for pulls in self._pulls.values() if pulls.running is not None]
        if running:
            await asyncio.wait(running, timeout=seconds)

    def stop(self) -> None:
        """End those under way."""
        for pulls in self._pulls.values():
            if pulls.running is not None:
                pulls.running.cancel()

    async def _pull(self, place: Place, status: NodeStatus, pulls: _Pulls, reason: str) -> None:
        began = self._clock()
        try:
            if not status.url:
                raise XdplbError(
                    f"{status.name} does not say where its API is", hint="start it with --advertise-url https://…"
                )
            state = await unawaited("xdplb-pull", partial(self._puller.pull, status.name, status.url))
            await self._records.take_over(state)
        except XdplbError as error:
            self._failed(place, status.name, pulls, reason, str(error))
            return
        seconds = self._clock() - began
        self._counts.pulls["done"] += 1
        pulls.not_before = self._clock() + max(_AGAIN_SECONDS, _SHARE_OF_TIME * seconds)
        pulls.retry, pulls.failure = _FIRST_RETRY_SECONDS, ""
        self._drifts.well(f"{place} records")
        slots = sum(len(each.numbers) for each in state.slots)
        self._events.say(RecordsPulled(status.name, len(state.records), slots, round(seconds, 3), reason))

    def _failed(self, place: Place, name: str, pulls: _Pulls, reason: str, why: str) -> None:
        """Note that a pull failed for this reason, and try it again later."""
        self._counts.pulls["failed"] += 1
        pulls.reason, pulls.not_before = pulls.reason or reason, self._clock() + pulls.retry
        pulls.retry = min(2 * pulls.retry, _LAST_RETRY_SECONDS)
        if pulls.failure != why:
            pulls.failure = why
            self._events.say(RecordsNotPulled(name, why))
        self._drifts.stands(f"{place} records", f"the records of peer {name} cannot be pulled: {why}")
