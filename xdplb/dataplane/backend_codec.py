# SPDX-License-Identifier: Apache-2.0
"""The encoding of backends in the maps, with the part of the outer IPv4 checksum that is known beforehand."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.next_hop import MAX_TAGS, NextHop, VlanTag
from xdplb.model.vip import Forward

from . import layout
from .plane import BackendEntry, NatWay

__all__ = ["checksum_base", "decode", "decode_all", "encode", "nat_direct_keys", "nat_keys"]

FORWARD_NUMBERS = {
    (Forward.DR, 4): layout.FORWARD_DR,
    (Forward.DR, 6): layout.FORWARD_DR,
    (Forward.IPIP, 4): layout.FORWARD_IPIP,
    (Forward.IPIP, 6): layout.FORWARD_IPIP6,
    (Forward.GUE, 4): layout.FORWARD_GUE,
    (Forward.GUE, 6): layout.FORWARD_GUE6,
    (Forward.NAT, 4): layout.FORWARD_NAT,
    (Forward.NAT, 6): layout.FORWARD_NAT,
}
"""By what is asked and the version of the backend's address."""

FORWARDS = {number: forward for (forward, _), number in FORWARD_NUMBERS.items()}
OUTER_TTL = 64
PROTOCOL_IPV4, PROTOCOL_UDP, PROTOCOL_IPV6 = 4, 17, 41
TAG_CUSTOMER, TAG_SERVICE = 0x8100, 0x88A8
LOW64 = 2**64 - 1


def checksum_base(source: IPAddress, destination: IPAddress, protocol: int = PROTOCOL_IPV4) -> int:
    """Return the sum of the outer IPv4 header's words that no packet changes, as layout.h defines it.

    The checksum of an IPv4 header is a sum of 16-bit words in one's complement, which may be taken in any order and
    in either byte order (RFC 1071, section 2), so that the constant words are added once, here.
    """
    constant = struct.pack("!BBBB4s4s", 0x45, 0, OUTER_TTL, protocol, source.packed, destination.packed)
    return sum(struct.unpack("<6H", constant))


def encode(backends: Sequence[BackendEntry]) -> NDArray[np.void]:
    """Return the values for the `backends` map, one a backend. By columns, since another rule writes hundreds."""
    values = np.zeros(len(backends), layout.BACKEND)
    values["epoch"] = [backend.epoch for backend in backends]
    values["vip"] = [backend.vip_id for backend in backends]
    values["forward"] = [FORWARD_NUMBERS[backend.forward, backend.address.version] for backend in backends]
    values["flags"] = [_flags(backend) for backend in backends]
    _encode_next_hops(values, backends)
    if by4 := _Chosen.of(backends, lambda backend: backend.address.version == 4):
        _encode_outer4(values, by4)
    if by6 := _Chosen.of(backends, lambda backend: backend.address.version == 6):
        _encode_outer6(values, by6)
    for place, backend in enumerate(backends):
        if backend.nat is not None:
            values["checksum"][place] = _nat_sum(backend.address, backend.nat.vip) << 16 | backend.nat.shift
    return values


def nat_keys(backend: BackendEntry) -> list[bytes]:
    """Return the keys of a backend in the `nat_backends` map: what its replies come from."""
    nat = backend.nat
    if nat is None:
        return []
    keys = np.zeros(len(nat.protocols) * (nat.last_port - nat.first_port + 1), layout.NAT_KEY)
    keys["address"] = _in_memory(backend.address)
    keys["version"] = backend.address.version
    pairs = [(port, protocol) for port in range(nat.first_port, nat.last_port + 1) for protocol in nat.protocols]
    keys["port"], keys["protocol"] = zip(*pairs, strict=True) if pairs else ((), ())
    return [key.tobytes() for key in keys]


def nat_direct_keys(backend: BackendEntry) -> list[bytes]:
    """Return the keys of a backend in the `nat_direct` map: the networks that it answers as it is."""
    direct = () if backend.nat is None else backend.nat.direct
    keys = np.zeros(len(direct), layout.NAT_DIRECT_KEY)
    for key, network in zip(keys, direct, strict=True):
        key["length"], key["backend"] = 32 + network.prefixlen, backend.id
        key["address"] = _in_memory(network.network_address)
    return [key.tobytes() for key in keys]


def _in_memory(address: IPAddress) -> tuple[int, int]:
    """Return an address as struct packet has it: its bytes as they lie in the header."""
    packed = address.packed.ljust(16, b"\0")
    return int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")


def _nat_sum(backend: IPAddress, vip: IPAddress) -> int:
    """Return what checksums change by where the VIP's address becomes the backend's, as layout.h defines it."""
    words = np.concatenate([np.frombuffer(backend.packed, "<u2"), ~np.frombuffer(vip.packed, "<u2")])
    total = int(words.sum(dtype=np.uint32))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class _Chosen(NamedTuple):
    """Some of the backends, and where they are among all."""

    places: slice | list[int]
    backends: Sequence[BackendEntry]

    @classmethod
    def of(cls, backends: Sequence[BackendEntry], is_chosen: Callable[[BackendEntry], bool]) -> _Chosen | None:
        places = [place for place, backend in enumerate(backends) if is_chosen(backend)]
        if len(places) == len(backends):
            return cls(slice(None), backends) if backends else None
        return cls(places, [backends[place] for place in places]) if places else None


def _flags(backend: BackendEntry) -> int:
    tags = backend.next_hop.tags if backend.next_hop else ()
    if len(tags) > MAX_TAGS or any(tag.type != TAG_CUSTOMER for tag in tags[1:]):
        raise ValueError(f"a frame can have at most two VLAN tags, the inner one of type 0x8100, not {tags}")
    return (
        layout.BACKEND_USABLE * (backend.usable and backend.next_hop is not None)
        | layout.BACKEND_VLAN * (len(tags) > 0)
        | layout.BACKEND_QINQ * (len(tags) > 1)
        | layout.BACKEND_VLAN_AD * (tags[:1] != () and tags[0].type == TAG_SERVICE)
        | layout.BACKEND_VLAN_KEEP * backend.keep_tags
        | layout.BACKEND_IPV6 * (backend.address.version == 6)
        | layout.BACKEND_INNER6 * (backend.inner_version == 6)
        | layout.BACKEND_NOTHING_NEW * (not backend.takes_new)
    )


def _encode_next_hops(values: NDArray[np.void], backends: Sequence[BackendEntry]) -> None:
    chosen = _Chosen.of(backends, lambda backend: backend.next_hop is not None)
    if chosen is None:
        return
    places = chosen.places
    hops = [backend.next_hop for backend in chosen.backends if backend.next_hop is not None]
    values["destination_mac"][places] = _macs([hop.destination_mac for hop in hops])
    values["source_mac"][places] = _macs([hop.source_mac for hop in hops])
    values["ifindex"][places] = [hop.ifindex for hop in hops]
    values["mtu"][places] = [min(hop.mtu, 0xFFFF) for hop in hops]
    if any(hop.tags for hop in hops):
        values["vlan"][places] = [([tag.id for tag in hop.tags] + [0, 0])[:MAX_TAGS] for hop in hops]


def _macs(macs: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(macs), np.uint8).reshape(-1, 6)


def _source(backend: BackendEntry) -> IPAddress | None:
    if backend.nat is not None:
        return backend.nat.vip
    if backend.source is not None or backend.next_hop is None:
        return backend.source
    return backend.next_hop.source


def _encode_outer4(values: NDArray[np.void], chosen: _Chosen) -> None:
    places, backends = chosen
    sources = [_source(backend) for backend in backends]
    address = np.array([int(backend.address) for backend in backends], np.uint32)
    source = np.array([0 if each is None else int(each) for each in sources], np.uint32)
    protocols = [_protocol(backend) for backend in backends]
    sums = {number: checksum_base(IPv4Address(0), IPv4Address(0), number) for number in set(protocols)}
    checksum = np.array([sums[number] for number in protocols], np.uint32)
    for words in (address.byteswap(), source.byteswap()):
        checksum += (words & 0xFFFF) + (words >> 16)
    checksum[[each is None for each in sources]] = 0
    outer = values["v4"]
    outer["address"][places], outer["source"][places] = address, source
    outer["source_mask"][places] = [backend.source_mask for backend in backends]
    values["checksum"][places] = checksum


def _encode_outer6(values: NDArray[np.void], chosen: _Chosen) -> None:
    places, backends = chosen
    sources, values6 = [_source(backend) for backend in backends], values.view(layout.BACKEND6)
    outer = values6["v6"]
    outer["address"][places] = [_halves(backend.address) for backend in backends]
    outer["source"][places] = [(0, 0) if source is None else _halves(source) for source in sources]
    values6["source_mask"][places] = [backend.source_mask for backend in backends]


def _protocol(backend: BackendEntry) -> int:
    if backend.forward is Forward.GUE:
        return PROTOCOL_UDP
    return PROTOCOL_IPV6 if backend.inner_version == 6 else PROTOCOL_IPV4


def _halves(address: IPAddress) -> tuple[int, int]:
    return int(address) >> 64, int(address) & LOW64


def decode(
    backend_id: int,
    value: NDArray[np.void],
    weight: int = 1,
    quic_server_id: bytes | None = None,
    keys: Collection[bytes] = (),
    *,
    direct: Collection[bytes] = (),
) -> BackendEntry:
    """Return the backend in a value, shape (1,), of the `backends` map. It has its own source if its mask has bits.

    `keys` are those that it has in `nat_backends`, `direct` those in `nat_direct`.
    """
    field = value[0]
    flags = int(field["flags"])
    address, source, mask = _decode_outer(value, flags)
    return BackendEntry(
        id=backend_id,
        epoch=int(field["epoch"]),
        vip_id=int(field["vip"]),
        address=address,
        forward=FORWARDS[int(field["forward"])],
        usable=bool(flags & layout.BACKEND_USABLE),
        next_hop=_decode_next_hop(field, flags, source) if field["ifindex"] else None,
        source=source if mask else None,
        source_mask=mask,
        inner_version=6 if flags & layout.BACKEND_INNER6 else 4,
        keep_tags=bool(flags & layout.BACKEND_VLAN_KEEP),
        weight=weight,
        quic_server_id=quic_server_id,
        takes_new=not flags & layout.BACKEND_NOTHING_NEW,
        nat=_decode_nat(field, source, keys, direct) if field["forward"] == layout.FORWARD_NAT else None,
    )


def _decode_nat(field: np.void, vip: IPAddress, keys: Collection[bytes], direct: Collection[bytes]) -> NatWay:
    found = np.frombuffer(b"".join(keys), layout.NAT_KEY)
    ports, protocols = found["port"].tolist(), found["protocol"].tolist()
    shift = int(field["checksum"]) & 0xFFFF
    networks = tuple(sorted(_network(key, vip.version) for key in direct))
    return NatWay(vip, shift, min(ports, default=0), max(ports, default=0), tuple(sorted(set(protocols))), networks)


def _network(key: bytes, version: int) -> IPNetwork:
    """Return the network in a key of the `nat_direct` map."""
    found = np.frombuffer(key, layout.NAT_DIRECT_KEY)[0]
    packed = found["address"].tobytes()
    return ip_network((packed[:4] if version == 4 else packed, int(found["length"]) - 32))


def decode_all(
    values: NDArray[np.void],
    loads: NDArray[np.void],
    doubts: NDArray[np.void],
    servers: Mapping[int, Collection[bytes]],
    nat: Mapping[int, Collection[bytes]],
    *,
    direct: Mapping[int, Collection[bytes]],
) -> dict[int, BackendEntry]:
    """Return the backends by id, in order, from the whole maps `backends`, `backend_loads` and `backend_doubts`.

    `servers`, `nat` and `direct` are the keys in `quic_servers`, `nat_backends` and `nat_direct`, by backend; one of
    the first begins with the server ID, and a backend has one at most.
    Most hosts are backends of many VIPs, in entries that differ by VIP and epoch alone: each is decoded once.
    """
    ids = np.flatnonzero(values["forward"]).tolist()
    weights, lengths = loads["weight"].tolist(), loads["server_id_bytes"].tolist()
    rates = doubts["rate"].tolist()
    server_ids = {
        number: key[: lengths[number]] or None
        for number, keys in servers.items()
        if number < len(lengths)
        for key in keys
    }
    chosen = values[ids]
    epochs, vips = chosen["epoch"].tolist(), chosen["vip"].tolist()
    chosen["epoch"], chosen["vip"] = 0, 0
    raw, size = chosen.tobytes(), chosen.itemsize
    alike: dict[bytes, BackendEntry] = {}
    entries: dict[int, BackendEntry] = {}
    for place, number in enumerate(ids):
        key = raw[place * size : (place + 1) * size]
        like = alike.get(key)
        if like is None:
            like = alike[key] = decode(0, chosen[place : place + 1])
        entries[number] = BackendEntry(
            number,
            epochs[place],
            vips[place],
            like.address,
            like.forward,
            like.usable,
            like.next_hop,
            like.source,
            like.source_mask,
            like.inner_version,
            like.keep_tags,
            weights[number],
            server_ids.get(number),
            like.takes_new,
            rates[number],
            None
            if like.nat is None
            else _decode_nat(values[number], like.nat.vip, nat.get(number, ()), direct.get(number, ())),
        )
    return entries


def _decode_outer(value: NDArray[np.void], flags: int) -> tuple[IPAddress, IPAddress, int]:
    """Return address, outer source and the source's mask."""
    if not flags & layout.BACKEND_IPV6:
        outer = value["v4"][0]
        return IPv4Address(int(outer["address"])), IPv4Address(int(outer["source"])), int(outer["source_mask"])
    value6 = value.view(layout.BACKEND6)[0]
    outer = value6["v6"]
    mask = 0 if value6["forward"] == layout.FORWARD_NAT else int(value6["source_mask"])
    return _joined(outer["address"]), _joined(outer["source"]), mask


def _joined(halves: NDArray[np.uint64]) -> IPv6Address:
    return IPv6Address(int(halves[0]) << 64 | int(halves[1]))


def _decode_next_hop(field: np.void, flags: int, source: IPAddress) -> NextHop:
    outer_type = TAG_SERVICE if flags & layout.BACKEND_VLAN_AD else TAG_CUSTOMER
    tags = (VlanTag(int(field["vlan"][0]), outer_type), VlanTag(int(field["vlan"][1])))
    count = bool(flags & layout.BACKEND_VLAN) + bool(flags & layout.BACKEND_QINQ)
    return NextHop(
        destination_mac=bytes(field["destination_mac"]),
        source_mac=bytes(field["source_mac"]),
        interface="",
        ifindex=int(field["ifindex"]),
        mtu=int(field["mtu"]),
        source=source,
        tags=tags[:count],
    )
