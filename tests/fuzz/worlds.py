# SPDX-License-Identifier: Apache-2.0
"""Configurations at random: VIPs that overlap, backends of every kind, slots in every state."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network

import numpy as np

from tests.fuzz.profiles import CAPACITY, INGRESS, OTHER_NIC
from tests.fuzz.routes import ROUTES
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.plane import BackendEntry, NatWay, Slots, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.decap import NO_DECAP, Decap
from xdplb.model.next_hop import NextHop, VlanTag
from xdplb.model.vip import NO_LIMITS, Forward, HashKind, Protocol, QuicIds, RateLimits, Scheduler, VipKey
from xdplb.reference.config import Config

__all__ = [
    "CLIENTS",
    "EPOCH",
    "IDLE_SECONDS",
    "PORTS",
    "TUNNEL_ENDS",
    "TUNNEL_SOURCES",
    "UNKNOWN_IDS",
    "VIP_ADDRESSES",
    "random_config",
]

EPOCH = 7
IDLE_SECONDS = (60, 120)
PORTS = (80, 443, 53, 8000, 8001)
CLIENTS: dict[int, list[IPAddress]] = {
    4: [ip_address(f"198.51.100.{number}") for number in range(1, 25)],
    6: [ip_address(f"2001:db8:c:{number:x}::{number % 3}") for number in range(1, 25)],
}
VIP_ADDRESSES: dict[int, list[IPAddress]] = {
    4: [ip_address(f"203.0.113.{number}") for number in (10, 11, 12, 32, 33, 77)],
    6: [ip_address(f"2001:db8:f:{number}") for number in (":a", ":b", ":c", ":20", ":21", "1::77")],
}
TUNNEL_ENDS: dict[int, list[IPAddress]] = {
    4: [ip_address("10.0.0.2"), ip_address("10.0.0.3")],
    6: [ip_address("2001:db8:b::2"), ip_address("2001:db8:b::3")],
}
"""The addresses at which tunnels may end, and one beside each."""

TUNNEL_SOURCES: dict[int, list[IPAddress]] = {
    4: [ip_address(text) for text in ("10.0.0.7", "10.0.9.8", "192.0.2.1")],
    6: [ip_address(text) for text in ("2001:db8:b::7", "2001:db8:b:1::8", "2001:dead::1")],
}
PREFIX_LENGTHS = {4: (24, 27, 28, 31, 32), 6: (48, 64, 122, 127, 128)}
GONE_NIC = 7777
UNKNOWN_IDS = (0, 200, 999)
"""In slots and records: nobody, an id never written, one beyond the map."""

SHARES = (0, 1 << 30, 1 << 31, 0xFFFFFFFF, 0xFFFFFFFF)
"""Of the connections of a VIP, those that are sampled, as the maps have it."""

MTUS = (1500, 1500, 1500, 9000, 1400, 1300, 600)
BACKENDS = 12
FIRST_ID = {4: 1, 6: 101}
PINNED = 0xFFFF


def random_config(chance: random.Random, features: Features) -> Config:
    """Return a configuration that needs no more than these features."""
    families = [4, 6] if Feature.IPV6 in features else [4]
    backends = {
        backend.id: backend
        for family in families
        for backend in (_random_backend(chance, features, family, number) for number in range(BACKENDS))
    }
    vips = _random_vips(chance, features, families)
    tables = {vip.id: _random_table(chance, vip, backends) for vip in vips.values() if chance.random() < 0.95}
    backends |= _with_quic_ids(chance, vips, backends)
    if Feature.NAT in features:
        backends |= _with_nat(chance, vips, backends, direct=Feature.NAT_DIRECT in features)
    access = {vip.id: _random_access(chance, vip) for vip in vips.values() if vip.has_access_list}
    return Config(
        vips=vips,
        tables=tables,
        backends=backends,
        features=features,
        access=access,
        interfaces=frozenset({OTHER_NIC}),
        suspects=_random_suspects(chance, backends) if Feature.SECOND_CHOICE in features else frozenset(),
        max_backends=CAPACITY.backends,
        shares={vip.id: chance.choice(SHARES) for vip in vips.values() if vip.is_sampled},
        routes=ROUTES if Feature.NAT in features else {},
        decap=_random_decap(chance) if Feature.DECAP in features else NO_DECAP,
    )


def _random_vips(chance: random.Random, features: Features, families: list[int]) -> dict[int, VipEntry]:
    """Return VIPs of which no two that overlap are of the same rank: the control plane refuses those."""
    keys: list[VipKey] = []
    for _ in range(chance.randrange(4, 16)):
        key = _random_key(chance, chance.choice(families), wildcard=Feature.WILDCARD in features)
        if not any(_conflict(key, other) for other in keys):
            keys.append(key)
    ids = chance.sample(range(CAPACITY.vips), len(keys))
    return {vip_id: _random_vip(chance, features, vip_id, key) for vip_id, key in zip(ids, keys, strict=True)}


def _random_key(chance: random.Random, family: int, *, wildcard: bool) -> VipKey:
    address = chance.choice(VIP_ADDRESSES[family])
    protocol = chance.choice(list(Protocol))
    port = chance.choice(PORTS)
    if not wildcard or chance.random() < 0.4:
        return VipKey(address, port, protocol)
    length = chance.choice(PREFIX_LENGTHS[family])
    address = ip_network((address, length), strict=False).network_address
    first, last = chance.choice([(port, port), (0, 0), (1, 65535), (80, 443), (8000, 8999), (443, 65535)])
    return VipKey(address, first, protocol, length, last)


def _conflict(one: VipKey, other: VipKey) -> bool:
    """Whether a packet could be for both, and neither wins."""
    return (
        one.rank == other.rank
        and one.address.version == other.address.version
        and one.network.overlaps(other.network)
        and max(one.ports[0], other.ports[0]) <= min(one.ports[-1], other.ports[-1])
        and bool(set(one.protocol.numbers) & set(other.protocol.numbers))
    )


def _random_hash(chance: random.Random, features: Features, scheduler: Scheduler) -> HashKind:
    if scheduler is Scheduler.SH or chance.random() < 0.3:
        return HashKind.SOURCE
    if Feature.HASH in features:
        return chance.choice([HashKind.FIVE_TUPLE, HashKind.DESTINATION_PORT, HashKind.ADDRESSES])
    return HashKind.FIVE_TUPLE


def _random_vip(chance: random.Random, features: Features, vip_id: int, key: VipKey) -> VipEntry:
    scheduler = Scheduler.MAGLEV
    if Feature.SCHEDULERS in features and chance.random() < 0.5:
        scheduler = chance.choice(list(Scheduler))
    quic = None
    if Feature.QUIC in features and key.protocol is Protocol.UDP:
        quic = chance.choice([None, QuicIds(chance.choice([1, 2, 7, 8]), chance.randrange(7))])
    return VipEntry(
        id=vip_id,
        key=key,
        track_always=scheduler.is_per_connection or chance.random() < 0.4,
        hash=_random_hash(chance, features, scheduler),
        idle_seconds=chance.choice(IDLE_SECONDS),
        scheduler=scheduler,
        candidates=chance.choice([0, 1, 5, 12, 128]) if scheduler in {Scheduler.LC, Scheduler.WLC} else 0,
        quic=quic,
        limits=_random_limits(chance) if Feature.LIMITS in features else NO_LIMITS,
        has_access_list=Feature.ACCESS in features and chance.random() < 0.5,
        is_sampled=Feature.PASSIVE in features and chance.random() < 0.7,
        second_choice=Feature.SECOND_CHOICE in features and chance.random() < 0.6,
        shares_all=Feature.SYNC in features and chance.random() < 0.5,
        rejects=Feature.REJECT in features and chance.random() < 0.5,
    )


def _random_limits(chance: random.Random) -> RateLimits:
    if chance.random() < 0.5:
        return NO_LIMITS
    rates = [0, 0, 1, 3, 20, 700, 1_000_000_000]
    return RateLimits(*(chance.choice(rates) for _ in range(4)))


def _random_suspects(chance: random.Random, backends: dict[int, BackendEntry]) -> frozenset[int]:
    share = chance.choice([0, 0.2, 0.5, 0.9])
    return frozenset(number for number in backends if chance.random() < share)


def _random_decap(chance: random.Random) -> Decap:
    """Return tunnels that end here, mostly of both families, whose sources are some of TUNNEL_SOURCES."""
    ends = [end for family in (4, 6) for end in TUNNEL_ENDS[family][:1] if chance.random() < 0.9]
    lengths = {4: (0, 16, 24, 31, 32), 6: (0, 32, 64, 127, 128)}
    sources = [
        ip_network((chance.choice(TUNNEL_SOURCES[end.version][:2]), chance.choice(lengths[end.version])), strict=False)
        for end in ends
        for _ in range(chance.choice([1, 1, 2]))
    ]
    return Decap(tuple(ends), tuple(dict.fromkeys(sources)))


def _random_access(chance: random.Random, vip: VipEntry) -> AccessList:
    family = vip.key.address.version
    clients = CLIENTS[family]
    longest = clients[0].max_prefixlen

    def some() -> tuple[IPNetwork, ...]:
        lengths = [longest, longest - 1, longest - 3, 64 if family == 6 else 28, 0]
        chosen = [(chance.choice(clients), chance.choice(lengths)) for _ in range(chance.choice([0, 1, 4]))]
        return tuple({ip_network(pair, strict=False) for pair in chosen})

    return AccessList(some(), some())


def _random_backend(chance: random.Random, features: Features, family: int, number: int) -> BackendEntry:
    """Return a backend for VIPs of this family. The outer header is of the family of its address."""
    forward = chance.choice([Forward.DR, Forward.IPIP, Forward.IPIP])
    if Feature.GUE in features and chance.random() < 0.4:
        forward = Forward.GUE
    outer = family
    if forward is not Forward.DR:
        outer = chance.choice([4, 6]) if Feature.OUTER_IPV6 in features else 4
    masked = outer != 6 and chance.random() < 0.3
    source = ip_address("10.200.0.0") if masked else None
    mask = chance.choice([0xFFFF, 0x3FFFF]) if masked else 0
    if outer == 6 and chance.random() < 0.3:
        source, mask = ip_address("2001:db8:200::"), chance.choice([0xFFFFFFFF, 0xFFFF])
    return BackendEntry(
        id=FIRST_ID[family] + number,
        epoch=EPOCH,
        vip_id=0,
        address=ip_address(f"10.0.1.{number + 1}" if outer == 4 else f"2001:db8:b::{number + 1:x}"),
        forward=forward,
        usable=chance.random() < 0.85,
        next_hop=_random_hop(chance, features, outer, number) if chance.random() < 0.97 else None,
        source=source,
        source_mask=mask,
        inner_version=family,
        keep_tags=Feature.VLAN in features and chance.random() < 0.3,
        weight=chance.choice([1, 1, 2, 7]),
        takes_new=chance.random() < 0.7,
        max_new_flows=chance.choice([0, 0, 0, 1, 3, 700]) if Feature.SECOND_CHOICE in features else 0,
    )


def _random_hop(chance: random.Random, features: Features, outer: int, number: int) -> NextHop:
    tags: tuple[VlanTag, ...] = ()
    if Feature.VLAN in features:
        customer, service = VlanTag(chance.randrange(1, 4095)), VlanTag(chance.randrange(1, 4095), 0x88A8)
        tags = chance.choice([(), (customer,), (service,), (service, customer), (customer, customer)])
    return NextHop(
        destination_mac=bytes([2, 0, 0, 0, 2, number]),
        source_mac=bytes([2, 0, 0, 0, 1, 2]),
        interface="",
        ifindex=chance.choice([INGRESS, INGRESS, INGRESS, INGRESS, INGRESS, OTHER_NIC, GONE_NIC]),
        mtu=chance.choice(MTUS),
        source=ip_address("10.0.0.1" if outer == 4 else "2001:db8:b::fffe"),
        tags=tags,
    )


def _with_quic_ids(
    chance: random.Random, vips: dict[int, VipEntry], backends: dict[int, BackendEntry]
) -> dict[int, BackendEntry]:
    """Return some of the backends as backends of VIPs that are balanced by connection ID."""
    changed = {}
    for vip in vips.values():
        if vip.quic is None:
            continue
        own = [backend for backend in backends.values() if backend.inner_version == vip.key.address.version]
        for place, backend in enumerate(chance.sample(own, 3)):
            server_id = bytes([place + 1]) * vip.quic.server_id_bytes
            changed[backend.id] = replace(backend, vip_id=vip.id, quic_server_id=server_id)
    return changed


DIRECT = {
    4: (ip_network("192.0.2.0/30"), ip_network("198.51.100.1/32")),
    6: (ip_network("2001:db8:c::/64"),),
}


def _with_nat(
    chance: random.Random, vips: dict[int, VipEntry], backends: dict[int, BackendEntry], *, direct: bool
) -> dict[int, BackendEntry]:
    """Return some of the backends as NAT backends, on addresses of their own family.

    With `direct`, every second one answers some clients as it is.
    """
    changed = {}
    for place, backend in enumerate(backends.values()):
        family = backend.inner_version
        own = [vip for vip in vips.values() if vip.key.address.version == family]
        if not own or chance.random() < 0.3:
            continue
        vip = chance.choice(own)
        first, last = chance.choice([(8080, 8080), (1000, 1003), (0, 0)])
        if first == 0 and vip.key.is_exact:
            first = last = vip.key.port  # to be for all ports, the VIP must be
        way = NatWay(
            vip=vip.key.address,
            shift=0 if first == 0 else (first - vip.key.port) % 2**16,
            first_port=first,
            last_port=last,
            protocols=vip.key.protocol.numbers,
            direct=DIRECT[family] if direct and place % 2 else (),
        )
        hop = backend.next_hop
        changed[backend.id] = replace(
            backend,
            vip_id=vip.id,
            address=ip_address(f"10.0.2.{place + 1}" if family == 4 else f"2001:db8:b:2::{place + 1:x}"),
            forward=Forward.NAT,
            source=None,
            source_mask=0,
            next_hop=None if hop is None else replace(hop, source=way.vip),
            nat=way,
        )
    return changed


def _random_table(chance: random.Random, vip: VipEntry, backends: dict[int, BackendEntry]) -> Slots:
    """Return slots of every state; a few name nobody, or a backend that is not there.

    Schedulers take it from the control plane that there is room for each backend in their tables.
    """
    own = [number for number, entry in backends.items() if entry.inner_version == vip.key.address.version]
    generator = np.random.default_rng(chance.getrandbits(32))
    unknown = UNKNOWN_IDS[:2] if vip.scheduler.is_per_connection else UNKNOWN_IDS
    owners = np.array([*own, *own, *own, *unknown], np.uint32)
    previous = np.array([*own, *[0] * len(own), *[PINNED] * len(own), *UNKNOWN_IDS[1:]], np.uint32)
    if chance.random() < 0.3:
        previous = np.zeros(1, np.uint32)
    slots: Slots = generator.choice(owners, TABLE_SIZE) | generator.choice(previous, TABLE_SIZE) << np.uint32(16)
    return slots
