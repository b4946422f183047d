# SPDX-License-Identifier: Apache-2.0
"""A network in memory with the hubs of some nodes: datagrams may be lost, doubled, delayed, and read by anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

import numpy as np

from xdplb.model.node_status import NodeStatus
from xdplb.model.shared_record import SHARED_RECORD, SharedRecords
from xdplb.peers.addresses import Place
from xdplb.peers.hints import Hint
from xdplb.peers.hub import Hub
from xdplb.peers.keys import Key, Keys
from xdplb.peers.link import Link

OLD, NEW = Key(b"o" * 32), Key(b"n" * 32)
DELAY = 0.001


def record(
    source: str = "192.0.2.7", backend: str = "10.0.0.11", *, port: int = 40000, vip: str = "203.0.113.10"
) -> SharedRecords:
    """Return one record."""
    made = np.zeros(1, SHARED_RECORD)
    for name, text in (("source", source), ("destination", vip), ("backend", backend)):
        made[name] = divmod(int(ip_address(text)), 1 << 64)
    made["version"], made["backend_version"] = ip_address(source).version, ip_address(backend).version
    made["source_port"], made["destination_port"], made["protocol"], made["age"] = port, 443, 6, 0.25
    made["flags"] = 0x21
    return made


@dataclass
class Ear:
    """What a hub has told."""

    got: list[tuple[int, str]] = field(default_factory=list)
    hinted: list[Hint] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    missing: int = 0

    def records(self, records: SharedRecords, name: str) -> None:
        self.got += [(int(port), name) for port in records["source_port"]]

    def hints(self, hints: list[Hint]) -> None:
        self.hinted += hints

    def appeared(self, link: Link) -> None:
        self.told.append(f"appeared {link.place}")

    def gone(self, link: Link) -> None:
        self.told.append(f"gone {link.place}")

    def missed(self, link: Link, lost: int) -> None:
        self.missing += lost
        self.told.append(f"missed {lost}" if lost else f"began {link.place}")

    def wrong_key(self, place: Place) -> None:
        self.told.append(f"wrong key {place}")


class Node:
    """A node in the network, at one address or more."""

    def __init__(self, net: Net, name: str, *hosts: str, keys: Iterable[Key] = (OLD,)) -> None:
        self.net, self.name, self.places = net, name, [Place(host, 4815) for host in hosts]
        self.source: Place | None = None
        """What it sends from, if that is another address than the one it was sent to."""
        self.ear = Ear()
        self.hub = Hub(Keys(tuple(keys)), lambda: NodeStatus(name, "1.0"), self.ear)

    def name_peers(self, *hosts: str) -> None:
        self.hub.name_peers([Place(host, 4815) for host in hosts], self.net.now)

    def send(self, *records: SharedRecords) -> None:
        self.net.carry(self, self.hub.records(np.concatenate(records), self.net.now))

    def hint(self, *hints: Hint) -> None:
        self.net.carry(self, self.hub.hints(list(hints), self.net.now))

    @property
    def ports(self) -> list[int]:
        return [port for port, _ in self.ear.got]


class Net:
    """The network. `fate` says for each datagram after how many seconds each of its copies comes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.nodes: list[Node] = []
        self.sent: list[tuple[Place, Place, bytes]] = []
        self.fate: Callable[[Place, Place, bytes], Iterable[float]] = lambda *_: (DELAY,)
        self._flying: list[tuple[float, int, Place, Place, bytes]] = []

    def add(self, name: str, *hosts: str, keys: Iterable[Key] = (OLD,)) -> Node:
        node = Node(self, name, *hosts, keys=keys)
        self.nodes = [each for each in self.nodes if each.places != node.places] + [node]
        return node

    def pair(self) -> tuple[Node, Node]:
        """Return two nodes that name each other, up."""
        one, other = self.add("lb1", "10.0.0.1"), self.add("lb2", "10.0.0.2")
        one.name_peers("10.0.0.2")
        other.name_peers("10.0.0.1")
        self.run(0.1)
        return one, other

    def carry(self, node: Node, datagrams: Iterable[tuple[bytes, Place]]) -> None:
        for datagram, place in datagrams:
            source = next(each for each in node.places if each.is_ipv6 == place.is_ipv6)
            source = next((each for each in node.places if each.host[:5] == place.host[:5]), source)
            self.inject(datagram, node.source or source, place)

    def inject(self, datagram: bytes, source: Place, to: Place) -> None:
        self.sent.append((source, to, datagram))
        for delay in self.fate(source, to, datagram):
            self._flying.append((self.now + delay, len(self.sent), source, to, datagram))

    def run(self, seconds: float, step: float = 0.01) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step
            for node in self.nodes:
                self.carry(node, node.hub.tick(self.now))
            self._deliver()

    def _deliver(self) -> None:
        while any(at <= self.now for at, *_ in self._flying):
            due = sorted(each for each in self._flying if each[0] <= self.now)
            self._flying = [each for each in self._flying if each[0] > self.now]
            for _, _, source, to, datagram in due:
                for node in self.nodes:
                    if to in node.places:
                        self.carry(node, node.hub.received(datagram, source, self.now))
