# SPDX-License-Identifier: Apache-2.0
"""QUIC packets go to the backend whose server ID is in the connection ID, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Raw

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import IDLE_SECONDS, VIP6_IDS, VIP_IDS, Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_TX
from xdplb.dataplane.plane import VipCounters, VipEntry
from xdplb.model.vip import Protocol, QuicIds, VipKey

pytestmark = pytest.mark.root

OWNER, NAMED = 1, 2
CONFIG_ID = 5
SERVER_ID = bytes.fromhex("a1b2c3")
VIPS = {4: (VIP_IDS[Protocol.UDP], packets.VIP), 6: (VIP6_IDS[Protocol.UDP], packets.VIP6)}
SHORT, LONG = 0x40, 0xC0
REST = bytes(range(100, 120))  # packet number and what is encrypted


def connection_id(server_id: bytes = SERVER_ID, config_id: int = CONFIG_ID, *, length: int = 8) -> bytes:
    """Return a connection ID as a backend with this server ID gives it out."""
    return (bytes([config_id << 5 | 0x1F]) + server_id + bytes(range(200, 220)))[:length]


def short(identifier: bytes) -> bytes:
    """Return a packet with a short header, which does not say how long its connection ID is."""
    return bytes([SHORT]) + identifier + REST


def long(identifier: bytes, *, rest: bytes = REST) -> bytes:
    """Return a packet with a long header (RFC 8999), with a source connection ID of the client's."""
    return bytes([LONG, 0, 0, 0, 1, len(identifier)]) + identifier + b"\4abcd" + rest


@dataclass(frozen=True)
class Row:
    """A UDP payload and who gets it."""

    shows: str
    payload: bytes
    to: int
    config_id: int = CONFIG_ID
    server_id: bytes = SERVER_ID


LONG_ID = bytes.fromhex("0102030405060708")
ROWS = [
    Row("a short header", short(connection_id()), NAMED),
    Row("a long header", long(connection_id()), NAMED),
    Row("a long header whose ID is of 20 bytes", long(connection_id(length=20)), NAMED),
    Row("an ID no longer than it must be", long(connection_id(length=4)), NAMED),
    Row("an ID that ends within the server ID", long(connection_id(length=3)), OWNER),
    Row("an ID of no bytes", long(b""), OWNER),
    Row("another config ID", short(connection_id(config_id=4)), OWNER),
    Row("config ID 0", short(connection_id(config_id=0)), NAMED, config_id=0),
    Row("what is 7 is no config ID", short(connection_id(config_id=7)), OWNER),
    Row("nobody's server ID", short(connection_id(b"\xa1\xb2\xc4")), OWNER),
    Row("a server ID of 8 bytes", short(connection_id(LONG_ID, length=12)), NAMED, server_id=LONG_ID),
    Row("... in a long header", long(connection_id(LONG_ID, length=9)), NAMED, server_id=LONG_ID),
    Row("... of which one differs", short(connection_id(LONG_ID[:-1] + b"\0", length=12)), OWNER, server_id=LONG_ID),
    Row("a server ID of one byte", short(connection_id(b"\7")), NAMED, server_id=b"\7"),
    Row("a short header cut short", short(connection_id())[:9], OWNER),
    Row("... and as short as can be", short(connection_id())[:10], NAMED),
    Row("a long header cut short", long(connection_id())[:14], OWNER),
    Row("... and as short as can be", long(connection_id())[:15], NAMED),
    Row("a payload of nothing", b"", OWNER),
]


def set_up(
    balancer: Balancer, *, always: bool = False, config_id: int = CONFIG_ID, server_id: bytes = SERVER_ID
) -> None:
    """Let NAMED have the server ID in both families' VIPs, and OWNER own all slots."""
    backends = [backend(OWNER), backend(NAMED), backend(NAMED + 1)]
    for number, (vip_id, _) in enumerate(VIPS.values(), 1):
        backends[number] = replace(backends[number], vip_id=vip_id, quic_server_id=server_id)
    balancer.set_up(slot(OWNER), backends)
    balancer.plane.write_vips(
        [
            VipEntry(
                vip_id,
                VipKey(ip_address(address), packets.VIP_PORT, Protocol.UDP),
                track_always=always,
                idle_seconds=IDLE_SECONDS,
                quic=QuicIds(len(server_id), config_id),
            )
            for vip_id, address in VIPS.values()
        ]
    )


def datagram(version: int, payload: bytes, *, port: int = packets.CLIENT_PORT) -> bytes:
    """Return a datagram from the client to the VIP."""
    ports = UDP(sport=port, dport=packets.VIP_PORT)
    return packets.in_frame(icmp_packets.internet_layer(version) / ports / Raw(payload))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.shows)
def test_packet(balancer: Balancer, row: Row, version: int) -> None:
    set_up(balancer, config_id=row.config_id, server_id=row.server_id)
    frame = datagram(version, row.payload)
    result = balancer.send(frame)
    to = row.to + (version == 6 and row.to == NAMED)
    assert (result.verdict, result.packet) == (XDP_TX, packets.through_dr(frame, to))


def test_a_connection_goes_with_its_client_to_another_address(balancer: Balancer) -> None:
    set_up(balancer)
    for source, port in ((packets.CLIENT, 4711), ("198.51.100.9", 4712)):
        frame = packets.udp(source=source, source_port=port, payload=short(connection_id()))
        assert balancer.send(frame).packet == packets.through_dr(frame, NAMED)


def test_nothing_is_recorded_and_nothing_looked_up(balancer: Balancer) -> None:
    set_up(balancer, always=True)
    named, first = datagram(4, short(connection_id())), datagram(4, long(bytes(8)))
    assert balancer.send(named).packet == packets.through_dr(named, NAMED)
    assert balancer.record(Protocol.UDP) is None
    assert balancer.plane.counters().vips[VIPS[4][0]] == VipCounters(1, len(named))
    assert balancer.send(first).packet == packets.through_dr(first, OWNER)
    assert balancer.send(named).packet == packets.through_dr(named, NAMED)


def test_a_backend_that_is_down_is_not_followed(balancer: Balancer) -> None:
    set_up(balancer)
    there = balancer.plane.read_backends()[NAMED]
    balancer.plane.write_backends([replace(there, usable=False)])
    frame = datagram(4, short(connection_id()))
    assert balancer.send(frame).packet == packets.through_dr(frame, OWNER)


def test_a_server_id_of_another_vip_is_nobodys(balancer: Balancer) -> None:
    set_up(balancer)
    balancer.plane.clear_backends([NAMED])
    frame = datagram(4, short(connection_id()))
    assert balancer.send(frame).packet == packets.through_dr(frame, OWNER)
