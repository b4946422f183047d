# SPDX-License-Identifier: Apache-2.0
"""One end of a link to a peer: who is there, how what is sent is signed, and what of what comes is believed.

Each end makes a nonce for the link. A hello is signed with the shared key, and says both nonces. Only a hello that has
our nonce proves that its sender lives: anything older could be a replay. What follows is signed with a key that is made
of the shared one and both nonces, so that nothing of an earlier session, or of another link, is ever taken for it.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable

from xdplb.model.node_status import NodeStatus

from .addresses import Place
from .budget import Budget
from .hello import NO_NONCE, Hello, encode_hello
from .keys import Key, Keys
from .window import Window
from .wire import HELLO_VERSION, NONCE_BYTES, SENDER_BYTES, Header, Kind, Refused, signed

__all__ = ["HELLO_SECONDS", "SILENCE_SECONDS", "Link"]

HELLO_SECONDS = 0.5
SILENCE_SECONDS = 2.5
"""After so long without a hello a peer is lost."""

_ANSWERS = 4
_ANSWERS_A_SECOND = 10
"""So many hellos are answered at once, and so many a second: who sends more of them gets no more answers."""
_REMEMBERED = 64


class Link:
    """The way to a peer at `place`, of the daemon `boot`. It sends nothing by itself.

    `is_learned`: nobody named it, but it has the key. Times are of a monotonic clock, in seconds.
    """

    def __init__(self, place: Place, boot: bytes, now: float, *, is_learned: bool = False) -> None:
        self.place, self.is_learned, self.made = place, is_learned, now
        self._boot = boot
        self.nonce = secrets.token_bytes(NONCE_BYTES)
        self.peer_boot = b""
        """Which daemon the peer is."""
        self.peer_nonce = NO_NONCE
        """The peer's nonce, once it was proved."""
        self.status: NodeStatus | None = None
        self.heard: float | None = None
        """When the last good hello came."""
        self.round_trip: float | None = None
        self.sent = 0
        self.lost = 0
        """Datagrams of this session that never came."""
        self._is_known = False
        self._hellos_sent = 0
        self._hello_due = 0.0
        self._answers = Budget(_ANSWERS_A_SECOND, _ANSWERS)
        self._hellos, self._came = Window(), Window()
        self._peer_stamp, self._peer_stamp_at = 0, 0.0
        self._retired: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._session_keys: dict[tuple[bytes, bytes, bytes], bytes] = {}

    @property
    def sender(self) -> bytes:
        """What our datagrams on this link begin with."""
        return self.nonce[:SENDER_BYTES]

    @property
    def peer_sender(self) -> bytes:
        """What those of the peer begin with."""
        return self.peer_nonce[:SENDER_BYTES]

    def is_up(self, now: float) -> bool:
        """Return whether both ends know each other and the peer was heard of lately."""
        return self._is_known and self.heard is not None and now - self.heard <= SILENCE_SECONDS

    def hello_due(self, now: float) -> bool:
        """Return whether it is time for the next hello."""
        return now >= self._hello_due

    def hello(self, keys: Keys, status: NodeStatus | None, now: float, answered: bytes = NO_NONCE) -> bytes:
        """Return the next hello, for the one with the nonce `answered` if it is an answer."""
        if answered in {NO_NONCE, self.peer_nonce}:
            self._hello_due = now + HELLO_SECONDS
        self._hellos_sent += 1
        echo = answered if answered != NO_NONCE else self.peer_nonce
        held = int((now - self._peer_stamp_at) * 1e6) if self._peer_stamp else 0
        body = encode_hello(
            Hello(
                nonce=self.nonce,
                echo=echo,
                boot=self._boot,
                knows_you=echo != NO_NONCE and echo == self.peer_nonce,
                sent=self.sent if echo == self.peer_nonce else 0,  # what another session had, this one will not miss
                stamp=int(now * 1e6) + 1,
                echo_stamp=self._peer_stamp,
                held=held,
                status=status,
            )
        )
        key = keys.first
        header = Header(HELLO_VERSION, Kind.HELLO, key.name, self.sender, self._hellos_sent)
        return signed(header, body, key.derived(b"hello"))

    def skip(self) -> None:
        """Count a datagram that is not sent: the peer will see that it is missing."""
        if self.peer_nonce != NO_NONCE:
            self.sent += 1

    def next_datagram(self, keys: Keys, kind: Kind, body: bytes) -> bytes:
        """Return a datagram that the peer understands."""
        self.sent += 1
        key = keys.first
        header = Header(HELLO_VERSION, kind, key.name, self.sender, self.sent)
        return signed(header, body, self._session_key(key, self.nonce, self.peer_nonce))

    def key_of_peer(self, key: Key) -> bytes:
        """Return what the peer's datagrams are signed with, apart from its hellos."""
        return self._session_key(key, self.peer_nonce, self.nonce)

    def take(self, number: int, now: float) -> None:
        """Note a datagram of the session. Raises Refused if it came before."""
        if not self._came.accept(number, now):
            raise Refused("replay")

    def lost_now(self, now: float) -> int:
        """Return how many datagrams are found to be lost since this was asked last."""
        lost = self._came.lost(now)
        self.lost += lost
        return lost

    def take_hello(self, number: int, hello: Hello, now: float, began: Callable[[], None]) -> bytes | None:
        """Note a hello that is signed well; return its nonce if it is to be answered at once.

        `began` is called if a new session has begun. Raises Refused for a replay, or for one of this daemon.
        """
        if hello.boot == self._boot:
            raise Refused("own")
        if hello.nonce in self._retired:
            raise Refused("replay")
        is_fresh = hello.echo == self.nonce
        if hello.nonce != self.peer_nonce:
            if not is_fresh:  # it may be old: whoever sent it must first say our nonce
                return hello.nonce if self._may_answer(now) else None
            self._begin(hello.nonce)
            began()
        elif not is_fresh:  # for a daemon that ran here before, or an answer to somebody who repeats old hellos
            return None
        if not self._hellos.accept(number, now):
            raise Refused("replay")
        self._note(hello, now)
        was_known, self._is_known = self._is_known, hello.knows_you
        is_wanted = not was_known or not hello.knows_you
        return hello.nonce if is_wanted and self._may_answer(now) else None

    def _begin(self, peer_nonce: bytes) -> None:
        """Begin a session with a peer that has proved its nonce."""
        if self.peer_nonce != NO_NONCE:
            self._retired.append(self.peer_nonce)
        self.peer_nonce = peer_nonce
        self._hellos, self._came = Window(), Window()
        self.sent, self._is_known, self.round_trip = 0, False, None
        self._session_keys.clear()

    def _note(self, hello: Hello, now: float) -> None:
        self.heard, self.peer_boot = now, hello.boot
        if hello.status is not None:
            self.status = hello.status
        self._came.expect(hello.sent, now)
        self._peer_stamp, self._peer_stamp_at = hello.stamp, now
        if hello.echo_stamp:
            self.round_trip = max(0.0, now - (hello.echo_stamp + hello.held) / 1e6)

    def _may_answer(self, now: float) -> bool:
        return self._answers.take(1, now) == 1

    def _session_key(self, key: Key, sender: bytes, receiver: bytes) -> bytes:
        names = key.name, sender, receiver
        if names not in self._session_keys:
            self._session_keys[names] = key.derived(b"session" + sender + receiver)
        return self._session_keys[names]
