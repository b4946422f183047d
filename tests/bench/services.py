# SPDX-License-Identifier: Apache-2.0
"""The VIPs of the packet benchmark, and how they are written to a data plane. Each has its own hundred backends."""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import numpy as np

from tests.bench import traffic
from tests.bench.planes import LOOPBACK, next_hop
from xdplb.balance.rotation import candidates, rotation
from xdplb.balance.slots import PINNED, STEADY, Owners, pack
from xdplb.balance.table import WeightedBackend, build
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.plane import BackendEntry, NatWay, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.next_hop import ClientWay, NextHop, VlanTag
from xdplb.model.vip import NO_LIMITS, Forward, HashKind, Protocol, QuicIds, RateLimits, Scheduler, VipKey

__all__ = ["BACKENDS", "LISTED", "MIXED", "NAT_SHIFT", "SINGLE", "Service", "Services"]

BACKENDS = 100
FIRST: dict[int, IPAddress] = {4: IPv4Address("10.1.0.1"), 6: IPv6Address("2001:db8:1::1")}
FIRST_PORT = 1000
PORTS_APART = 1000
NAT_SHIFT = 7

LISTED, SINGLE, MIXED = "listed", "single", "mixed"
"""The access lists: LISTED denies 131,072 prefixes of 24 bits (of IPv6 60,000), one of them that of traffic.LISTED.

SINGLE denies every address of traffic.CLIENTS, one by one, and MIXED every second one: together they leave a packet of
these the longest search there is, of 16 steps.
"""
SCATTERED = {4: 1 << 17, 6: 60_000}


@dataclass(frozen=True, slots=True)
class Service:
    """A VIP for TCP and UDP with `ports` ports, or all with `prefix`; `outer` is the backends' IP version.

    `strays`: a connection has gone to a second choice just now.
    `sampled` is the share of its connections whose handshakes are sampled, of 2**32, None where the VIP is not sampled.
    """

    version: int = 4
    forward: Forward = Forward.DR
    outer: int | None = None
    moving: bool = False
    pinned: bool = False
    tracks: bool = False
    hash: HashKind = HashKind.FIVE_TUPLE
    second_choice: bool = False
    strays: bool = False
    scheduler: Scheduler = Scheduler.MAGLEV
    quic: bool = False
    limits: RateLimits = NO_LIMITS
    access: str | None = None
    tags: tuple[VlanTag, ...] = ()
    keep_tags: bool = False
    mtu: int = 9000
    ifindex: int = LOOPBACK
    ports: int = 1
    prefix: str | None = None
    sampled: int | None = None

    @property
    def hop(self) -> NextHop:
        """The next hop to its backends, by the NIC `ifindex`."""
        return next_hop(self.outer or self.version, self.ifindex, mtu=self.mtu, tags=self.tags)


class Services:
    """The services that a data plane has."""

    def __init__(self, plane: BccPlane) -> None:
        self._plane = plane
        self._entries: dict[Service, VipEntry] = {}
        self._access: dict[int, AccessList] = {}

    def port_of(self, service: Service) -> int:
        """Return the first port of a service; add the service if it is not there yet."""
        if service not in self._entries:
            self._entries[service] = self._add(service, len(self._entries))
        return self._entries[service].key.port or FIRST_PORT

    def publish(self) -> None:
        """Publish all services, so that packets see them."""
        if self._access:
            self._plane.write_access(self._access)
        self._plane.write_vips(list(self._entries.values()))
        self._plane.write_client_ways({version: _client_way(version) for version in (4, 6)})

    def _add(self, service: Service, vip_id: int) -> VipEntry:
        backends = [_backend(service, vip_id, number) for number in range(BACKENDS)]
        configured = [WeightedBackend(str(backend.address), backend.id, 1) for backend in backends]
        owners = _owners(service, configured)
        self._plane.write_backends(backends)
        self._plane.write_table(vip_id, pack(owners, _previous(service, owners)))
        if service.strays:
            self._plane.maps.vip_strays.update(vip_id, time.monotonic_ns().to_bytes(8, "little"))
        if service.sampled is not None:
            self._plane.write_shares({vip_id: service.sampled})
        if service.access:
            self._access[vip_id] = _access_list(service.version, service.access)
        return VipEntry(
            vip_id,
            _key(service, vip_id),
            service.tracks,
            900,
            service.hash,
            service.scheduler,
            candidates(configured, frozenset()) if service.scheduler is Scheduler.WLC else 0,
            QuicIds(server_id_bytes=2) if service.quic else None,
            service.limits,
            service.access is not None,
            second_choice=service.second_choice,
            is_sampled=service.sampled is not None,
        )


def _client_way(version: int) -> ClientWay:
    """Return the way to all clients but those of traffic.NAT_CLIENTS, with as many other prefixes as there can be."""
    client = ip_address(traffic.NAT_CLIENTS[version])
    length = 32 if version == 4 else 64
    others = [ip_network((client + (place << (client.max_prefixlen - length)), length)) for place in range(3)]
    return ClientWay(next_hop(version, LOOPBACK, mtu=9000), tuple(others))


def _key(service: Service, vip_id: int) -> VipKey:
    if service.prefix:
        network = ip_network(service.prefix)
        return VipKey(network.network_address, 0, Protocol.BOTH, network.prefixlen)
    port = FIRST_PORT + PORTS_APART * (vip_id % 64)
    return VipKey(ip_address(traffic.VIPS[service.version]), port, Protocol.BOTH, last_port=port + service.ports - 1)


def _nat_way(service: Service, vip_id: int) -> NatWay:
    key = _key(service, vip_id)
    port = key.port + NAT_SHIFT
    return NatWay(key.address, NAT_SHIFT, port, port, key.protocol.numbers)


def _backend(service: Service, vip_id: int, number: int) -> BackendEntry:
    nat = _nat_way(service, vip_id) if service.forward is Forward.NAT else None
    first = FIRST[service.hop.source.version] if nat is None else ip_address(traffic.NAT_BACKENDS[service.version])
    return BackendEntry(
        1 + vip_id * BACKENDS + number,
        1,
        vip_id,
        first + number,
        service.forward,
        usable=True,
        next_hop=service.hop,
        nat=nat,
        inner_version=service.version,
        keep_tags=service.keep_tags,
        quic_server_id=number.to_bytes(2, "big") if service.quic else None,
    )


def _owners(service: Service, configured: list[WeightedBackend]) -> Owners:
    if service.scheduler in {Scheduler.WRR, Scheduler.WLC}:
        return rotation(configured, frozenset(), weighted=True)
    return build(configured, frozenset())


def _previous(service: Service, owners: Owners) -> Owners:
    if service.moving:
        return np.roll(owners, 1)
    return np.full_like(owners, PINNED if service.pinned else STEADY)


def _access_list(version: int, name: str) -> AccessList:
    network, bits = (IPv4Network, 32) if version == 4 else (IPv6Network, 128)
    if name == LISTED:
        places = np.random.default_rng(0).choice(1 << 24, SCATTERED[version] - 1, replace=False).tolist()
        mine = int(ip_address(traffic.LISTED[version])) >> (bits - 24)
        return AccessList(deny=tuple(network((place << (bits - 24), 24)) for place in {mine, *places}))
    client = int(ip_address(traffic.CLIENTS[version]))
    return AccessList(deny=tuple(network((client + host, bits)) for host in range(0, 1 << 16, 1 + (name == MIXED))))
