# SPDX-License-Identifier: Apache-2.0
"""All links of a node: what comes is taken apart, and what is to be sent is returned. It has no clock and no socket."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from xdplb.model.node_status import NodeStatus
from xdplb.model.shared_record import SharedRecords

from .addresses import Place
from .budget import Budget
from .counts import PeerCounts
from .hello import BOOT_BYTES, NO_NONCE, Hello, decode_hello
from .hints import Hint, decode_hints, encode_hints
from .keys import Key, Keys
from .link import SILENCE_SECONDS, Link
from .records import decode_records, encode_records
from .wire import BODY_BYTES, HELLO_VERSION, Header, Kind, Refused, is_signed, opened

__all__ = ["Hub", "Listener", "Sent"]

_MOST_LEARNED = 64
_LEARNED_SECONDS = 60.0
"""A peer that nobody named is forgotten after so long without a word of it."""

_DOUBT_SECONDS = 1.2
"""After two hellos that did not come, another link to the same peer is preferred."""

_MOST_HINTS = 200
"""In a second. What is more is not sent: others find it out by their own checks."""

Sent = Iterator[tuple[bytes, Place]]
"""Datagrams, and where each is to go."""


class Listener(Protocol):
    """Is told what happens, in the thread of the hub. It must not wait for anything."""

    def records(self, records: SharedRecords, name: str) -> None:
        """Take records of the node of this name."""
        ...

    def hints(self, hints: list[Hint]) -> None:
        """Take hints."""
        ...

    def appeared(self, link: Link) -> None:
        """Hear that a peer is there, for the first time or again."""
        ...

    def gone(self, link: Link) -> None:
        """Hear that a peer has been silent for too long."""
        ...

    def missed(self, link: Link, lost: int) -> None:
        """Hear that records of this peer may be missing: so many datagrams were lost; 0: a session has just begun."""
        ...

    def wrong_key(self, place: Place) -> None:
        """Hear that somebody there signs with a key that is none of ours. It is told each time."""
        ...


class Hub:
    """The links of a node, used in one thread. Times are of a monotonic clock, in seconds.

    `status` returns what this node says of itself.
    """

    def __init__(self, keys: Keys, status: Callable[[], NodeStatus], listener: Listener) -> None:
        self.keys = keys
        self._boot = secrets.token_bytes(BOOT_BYTES)
        self.counts = PeerCounts()
        self._status, self._listener = status, listener
        self._links: dict[Place, Link] = {}
        self._by_sender: dict[bytes, Link] = {}
        self._up: set[Link] = set()
        self._hints = Budget(_MOST_HINTS)

    @property
    def links(self) -> list[Link]:
        """All links, those that were named first."""
        return sorted(self._links.values(), key=lambda link: link.is_learned)

    def name_peers(self, places: Iterable[Place], now: float) -> None:
        """Have links to these, and no more to others that were named before."""
        wanted = dict.fromkeys(places)
        for place in wanted:
            self._links.setdefault(place, Link(place, self._boot, now)).is_learned = False
        for link in list(self._links.values()):
            if link.place not in wanted and not link.is_learned:
                self._remove(link)

    def is_up(self, link: Link) -> bool:
        """Return whether the peer is there, as was told last."""
        return link in self._up

    def received(self, datagram: bytes, source: Place, now: float) -> Sent:
        """Take a datagram, and yield what to send at once. Nothing that comes makes it raise."""
        self.counts.received += 1
        self.counts.received_bytes += len(datagram)
        try:
            yield from self._take(datagram, source, now)
        except Refused as refused:
            self.counts.refused[refused.reason] += 1

    def tick(self, now: float) -> Sent:
        """Yield what it is time for. To be called every 50 ms or so."""
        for link in list(self._links.values()):
            self._look_at(link, now)
            if link.is_learned and now - (link.made if link.heard is None else link.heard) > _patience_with(link):
                self._remove(link)
            elif link.hello_due(now):
                yield self._hello(link, now)

    def records(self, records: SharedRecords, now: float) -> Sent:
        """Yield the datagrams that bring these records to all peers, over one link to each."""
        for body, count in encode_records(records, BODY_BYTES):
            for link in self._one_link_each(now):
                self.counts.records_sent += count
                yield self._data(link, Kind.RECORDS, body)

    def skip(self) -> None:
        """Let all peers find that something is missing: it could not be sent."""
        for link in self._links.values():
            link.skip()

    def hints(self, hints: list[Hint], now: float) -> Sent:
        """Yield the datagrams that bring these hints to all peers; too many of them are cut off."""
        given = hints[: self._hints.take(len(hints), now)]
        for body in encode_hints(given, BODY_BYTES):
            for link in self._one_link_each(now):
                yield self._data(link, Kind.HINTS, body)
        self.counts.hints_sent += len(given)

    def _take(self, datagram: bytes, source: Place, now: float) -> Sent:
        header, body = opened(datagram)
        key = self.keys.named(header.key)
        if key is None:
            self._listener.wrong_key(source)
            raise Refused("wrong_key")
        if header.version != HELLO_VERSION:
            raise Refused("version")
        if header.kind == Kind.HELLO:
            if not is_signed(datagram, key.derived(b"hello")):
                raise Refused("forged")
            yield from self._take_hello(header.number, body, source, now)
        else:
            self._take_data(header, body, datagram, key, now)

    def _take_hello(self, number: int, body: bytes, source: Place, now: float) -> Sent:
        try:
            hello = decode_hello(body)
        except ValueError:
            raise Refused("malformed") from None
        link = self._link_of(hello, source, now)
        answered = link.take_hello(number, hello, now, lambda: self._began(link))
        self._look_at(link, now)
        if answered is not None:
            yield self._hello(link, now, answered)

    def _take_data(self, header: Header, body: bytes, datagram: bytes, key: Key, now: float) -> None:
        link = self._by_sender.get(header.sender)
        if link is None:
            raise Refused("unknown_sender")
        if not is_signed(datagram, link.key_of_peer(key)):
            raise Refused("forged")
        link.take(header.number, now)
        name = "" if link.status is None else link.status.name
        try:
            if header.kind == Kind.RECORDS:
                records = decode_records(body)
                self.counts.records_received += len(records)
                self._listener.records(records, name)
            elif header.kind == Kind.HINTS:
                hints = decode_hints(body)
                self.counts.hints_received += len(hints)
                self._listener.hints(hints)
            else:
                raise Refused("unknown_kind")
        except ValueError:
            raise Refused("malformed") from None

    def _link_of(self, hello: Hello, source: Place, now: float) -> Link:
        """Return the link that a hello is for. Its source may be another address of the peer than the one named."""
        for link in self._links.values():
            if hello.echo == link.nonce or hello.nonce == link.peer_nonce:
                return link
        if source not in self._links:
            if hello.boot == self._boot:
                raise Refused("own")
            if sum(link.is_learned for link in self._links.values()) >= _MOST_LEARNED:
                raise Refused("too_many")
            self._links[source] = Link(source, self._boot, now, is_learned=True)
        return self._links[source]

    def _began(self, link: Link) -> None:
        self._by_sender = {sender: each for sender, each in self._by_sender.items() if each is not link}
        self._by_sender[link.peer_sender] = link
        self._listener.missed(link, 0)

    def _look_at(self, link: Link, now: float) -> None:
        """Tell whether the peer has come or gone, and what was lost."""
        if lost := link.lost_now(now):
            self.counts.gaps += lost
            self._listener.missed(link, lost)
        if link.is_up(now) != (link in self._up):
            self._up ^= {link}
            if link in self._up:
                self._listener.appeared(link)
            else:
                self._listener.gone(link)

    def _remove(self, link: Link) -> None:
        del self._links[link.place]
        self._by_sender = {sender: each for sender, each in self._by_sender.items() if each is not link}
        if link in self._up:
            self._up.discard(link)
            self._listener.gone(link)

    def _one_link_each(self, now: float) -> list[Link]:
        """Return the link to each peer that is there, of several the first that works; note what others do not get."""
        chosen: dict[bytes, Link] = {}
        up = [link for link in self.links if link in self._up]
        for link in sorted(up, key=lambda link: link.heard is None or now - link.heard > _DOUBT_SECONDS):
            chosen.setdefault(link.peer_boot, link)
        for link in self._links.values():
            if link.peer_boot not in chosen:
                link.skip()
        return list(chosen.values())

    def _data(self, link: Link, kind: Kind, body: bytes) -> tuple[bytes, Place]:
        return self._sent(link.next_datagram(self.keys, kind, body), link)

    def _hello(self, link: Link, now: float, answered: bytes = NO_NONCE) -> tuple[bytes, Place]:
        """Return a hello. Who was not named and has not proved to be there gets no more than it sent: a short one."""
        status = None if link.is_learned and link not in self._up else self._status()
        return self._sent(link.hello(self.keys, status, now, answered), link)

    def _sent(self, datagram: bytes, link: Link) -> tuple[bytes, Place]:
        self.counts.sent += 1
        self.counts.sent_bytes += len(datagram)
        return datagram, link.place


def _patience_with(link: Link) -> float:
    return SILENCE_SECONDS if link.heard is None else _LEARNED_SECONDS
