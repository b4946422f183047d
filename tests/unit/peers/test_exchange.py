# SPDX-License-Identifier: Apache-2.0
"""The thread with its sockets: a flood of what is of no use takes a part of a CPU, and harms nothing."""

from __future__ import annotations

import socket
import time

import numpy as np

from tests.unit.peers.wires import OLD, record
from xdplb.model.node_status import NodeStatus
from xdplb.model.shared_record import SharedRecords
from xdplb.peers.addresses import Place
from xdplb.peers.exchange import Exchange, Peer
from xdplb.peers.hints import Hint
from xdplb.peers.keys import Keys
from xdplb.peers.sockets import bind_peers


class Heard:
    """What an exchange has told."""

    def __init__(self) -> None:
        self.ports: list[int] = []

    def records_came(self, records: SharedRecords) -> None:
        self.ports += [int(port) for port in records["source_port"]]

    def hints_came(self, hints: list[Hint]) -> None: ...

    def peer_came(self, peer: Peer) -> None: ...

    def peer_went(self, peer: Peer) -> None: ...

    def records_missed(self, peer: Peer, lost: int) -> None: ...

    def wrong_key_came(self, place: Place) -> None: ...


def _exchange(name: str) -> tuple[Exchange, Heard]:
    heard = Heard()
    sockets = bind_peers([Place("127.0.0.1", 0)])
    return Exchange(sockets, Keys((OLD,)), lambda: NodeStatus(name, "1.0"), heard), heard


def _until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_flood_of_junk_is_bounded_and_records_come_through_after_it():
    one, _ = _exchange("lb1")
    other, heard = _exchange("lb2")
    one.start(other.places)
    other.start(one.places)
    try:
        _until(lambda: [peer.is_up for peer in (*one.peers, *other.peers)] == [True, True])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as enemy:
            end = time.monotonic() + 1
            while time.monotonic() < end:
                enemy.sendto(b"xP" + bytes(200), other.places[0])
        flooded = other.counts.refused.total()
        assert 0 < flooded < 25_000, "no more than a thousand and a burst in a tenth of a second"
        _until(lambda: all(peer.is_up for peer in (*one.peers, *other.peers)))

        def have_come() -> bool:  # the kernel drops the first ones while its buffer is full of junk
            one.send_records(np.concatenate([record(port=port) for port in range(1, 101)]))
            return set(heard.ports) == set(range(1, 101))

        _until(have_come)
    finally:
        one.stop()
        other.stop()


def test_records_that_are_sent_after_it_has_stopped_are_dropped():
    one, _ = _exchange("lb1")
    one.start([])
    one.stop()
    one.stop()
    one.send_records(record())
    one.tell_missing()
