# SPDX-License-Identifier: Apache-2.0
"""The thread that talks to the peers: sockets and clock around the hub. Nobody waits for it, and it waits for nobody.

Everything public may be called in any thread. What comes is handed to an `Audience`, in this thread.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xdplb.model.node_status import NodeStatus
from xdplb.model.shared_record import SharedRecords

from .addresses import Place
from .counts import PeerCounts
from .hints import Hint
from .hub import Hub, Sent
from .keys import Keys
from .link import Link
from .sockets import PeerSockets, receive

__all__ = ["Audience", "Exchange", "Peer"]

_TICK_SECONDS = 0.05
_A_BURST = 64
"""Datagrams that are taken from a socket at a time, before other things have their turn."""

_MOST_REFUSED = 1000
_REFUSED_SECONDS = 0.1
"""With more useless datagrams in so long a time, no more are read until it is over: a flood gets a part of a CPU."""

_MOST_WAITING = 100_000
"""Records that wait to be sent; more are not taken, and the peers are told that some are missing."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What is known of a peer. `name` is empty until it was heard of, `heard` in seconds of the monotonic clock."""

    place: Place
    name: str
    boot: bytes
    is_up: bool
    is_named: bool
    status: NodeStatus | None
    heard: float | None
    round_trip: float | None
    lost: int


class Audience(Protocol):
    """Is told what happens, in the thread of the exchange. It must not wait for anything."""

    def records_came(self, records: SharedRecords) -> None:
        """Take records of a peer."""
        ...

    def hints_came(self, hints: list[Hint]) -> None:
        """Take hints."""
        ...

    def peer_came(self, peer: Peer) -> None:
        """Hear that a peer is there, for the first time or again."""
        ...

    def peer_went(self, peer: Peer) -> None:
        """Hear that a peer has been silent for too long."""
        ...

    def records_missed(self, peer: Peer, lost: int) -> None:
        """Hear that so many datagrams of a peer were lost; 0: a session has begun, and it may have told of more."""
        ...

    def wrong_key_came(self, place: Place) -> None:
        """Hear that somebody there signs with another key. It is told once in a while."""
        ...


class Exchange:
    """Talks to the peers from `start` to `stop`. `status` returns what this node says of itself."""

    def __init__(self, sockets: PeerSockets, keys: Keys, status: Callable[[], NodeStatus], audience: Audience) -> None:
        self._sockets, self._audience = sockets, audience
        self._hub = Hub(keys, status, _Ear(self))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._waiting: list[SharedRecords] = []
        self._waiting_count = 0
        self._came: list[SharedRecords] = []
        self._refused_at, self._refused_before = 0.0, 0
        self._wrong_keys: dict[Place, float] = {}
        self._stopped = threading.Event()
        self.peers: tuple[Peer, ...] = ()
        """All peers, a moment ago. Replaced as a whole."""

    @property
    def counts(self) -> PeerCounts:
        """What was sent and received."""
        return self._hub.counts

    @property
    def places(self) -> list[Place]:
        """Where it listens."""
        return self._sockets.places

    def start(self, peers: Iterable[Place]) -> None:
        """Begin to talk to these."""
        self._hub.name_peers(peers, time.monotonic())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="xdplb-peers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say nothing any more, and close the sockets. May be called twice."""
        self._stopped.set()
        if self._loop is not None and self._thread is not None:
            self._soon(self._loop.stop)
            self._thread.join(2.0)
        self._sockets.close()

    def ask(self, then: Callable[[], None]) -> None:
        """Call `then` in its thread soon. Raises RuntimeError once it has ended."""
        if self._loop is None:
            raise RuntimeError("it has not begun")
        self._loop.call_soon_threadsafe(then)

    def name_peers(self, peers: Iterable[Place]) -> None:
        """Talk to these from now on, and no more to others that were named before."""
        places = tuple(peers)
        self._soon(lambda: self._hub.name_peers(places, time.monotonic()))

    def use_keys(self, keys: Keys) -> None:
        """Sign and accept with these from now on."""

        def use() -> None:
            self._hub.keys = keys

        self._soon(use)

    def send_records(self, records: SharedRecords) -> None:
        """Send records to all peers. They are copied."""
        with self._lock:
            if self._waiting_count + len(records) > _MOST_WAITING:
                self.counts.records_dropped += len(records)
                self.tell_missing()
                return
            is_first = not self._waiting
            self._waiting.append(records.copy())
            self._waiting_count += len(records)
        if is_first:
            self._soon(self._send_waiting)

    def tell_missing(self) -> None:
        """Let the peers know that records are missing, so that they pull them."""
        self._soon(self._hub.skip)

    def send_hints(self, hints: Iterable[Hint]) -> None:
        """Send hints to all peers."""
        given = list(hints)
        self._soon(lambda: self._send(self._hub.hints(given, time.monotonic())))

    def _soon(self, work: Callable[[], object]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(work)
            except RuntimeError:  # it has ended
                return

    def _run(self) -> None:
        assert self._loop is not None
        loop = self._loop
        for each in self._sockets.sockets:
            loop.add_reader(each, self._readable, each)
        loop.call_soon(self._tick)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _tick(self) -> None:
        assert self._loop is not None
        now = time.monotonic()
        self._send(self._hub.tick(now))
        self.look()
        self._loop.call_later(_TICK_SECONDS, self._tick)

    def look(self) -> None:
        """Set `peers` to how it stands."""
        self.peers = tuple(self.view(link) for link in self._hub.links)

    def _readable(self, from_socket: socket.socket) -> None:
        now = time.monotonic()
        for _ in range(_A_BURST):
            came = receive(from_socket)
            if came is None:
                break
            self._send(self._hub.received(*came, now))
        self._hand_on()
        self._rest_if_flooded(from_socket, now)

    def _rest_if_flooded(self, from_socket: socket.socket, now: float) -> None:
        assert self._loop is not None
        refused = self.counts.refused.total()
        if now - self._refused_at >= _REFUSED_SECONDS:
            self._refused_at, self._refused_before = now, refused
        elif refused - self._refused_before > _MOST_REFUSED:
            self._loop.remove_reader(from_socket)
            rest = self._refused_at + _REFUSED_SECONDS - now
            self._loop.call_later(rest, self._loop.add_reader, from_socket, self._readable, from_socket)

    def _send_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting, self._waiting_count = self._waiting, [], 0
        if waiting:
            self._send(self._hub.records(np.concatenate(waiting), time.monotonic()))

    def _send(self, datagrams: Sent) -> None:
        for datagram, place in datagrams:
            self._sockets.send(datagram, place)

    def _hand_on(self) -> None:
        if self._came:
            came, self._came = self._came, []
            self._audience.records_came(np.concatenate(came))

    def take(self, records: SharedRecords) -> None:
        """Keep records until the burst of datagrams that they came with is read."""
        if len(records):
            self._came.append(records)

    def tell_wrong_key(self, place: Place) -> None:
        """Tell the audience, but not again and again."""
        now = time.monotonic()
        if now - self._wrong_keys.get(place, -_WRONG_KEY_SECONDS) < _WRONG_KEY_SECONDS:
            return
        if len(self._wrong_keys) >= _MOST_WRONG_KEYS:
            self._wrong_keys = {each: at for each, at in self._wrong_keys.items() if now - at < _WRONG_KEY_SECONDS}
        if len(self._wrong_keys) < _MOST_WRONG_KEYS:
            self._wrong_keys[place] = now
            self._audience.wrong_key_came(place)

    @property
    def audience(self) -> Audience:
        """Who is told."""
        return self._audience

    def view(self, link: Link) -> Peer:
        """Return what is known of the peer on a link."""
        return Peer(
            place=link.place,
            name="" if link.status is None else link.status.name,
            boot=link.peer_boot,
            is_up=self._hub.is_up(link),
            is_named=not link.is_learned,
            status=link.status,
            heard=link.heard,
            round_trip=link.round_trip,
            lost=link.lost,
        )


_WRONG_KEY_SECONDS = 5.0
_MOST_WRONG_KEYS = 64


class _Ear:
    """Hears what the hub tells, and passes it on."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def records(self, records: SharedRecords, _name: str) -> None:
        self._exchange.take(records)

    def hints(self, hints: list[Hint]) -> None:
        self._exchange.audience.hints_came(hints)

    def appeared(self, link: Link) -> None:
        self._exchange.look()
        self._exchange.audience.peer_came(self._exchange.view(link))

    def gone(self, link: Link) -> None:
        self._exchange.look()
        self._exchange.audience.peer_went(self._exchange.view(link))

    def missed(self, link: Link, lost: int) -> None:
        self._exchange.audience.records_missed(self._exchange.view(link), lost)

    def wrong_key(self, place: Place) -> None:
        self._exchange.tell_wrong_key(place)
