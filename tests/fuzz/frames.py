# SPDX-License-Identifier: Apache-2.0
"""Frames at random: nearly always whole, in some respect unusual, and sometimes broken. Bytes, since scapy is slow."""

from __future__ import annotations

import random
import struct
from collections import deque
from dataclasses import dataclass, replace

from tests.fuzz.worlds import CLIENTS, PORTS, TUNNEL_ENDS, TUNNEL_SOURCES, VIP_ADDRESSES
from xdplb.model.address import IPAddress
from xdplb.reference.checksum import internet_checksum
from xdplb.reference.config import Config
from xdplb.reference.flow_state import FlowKey

__all__ = ["Frames"]

MOST = 3300
"""Bytes of a frame: one page less what the kernel wants in front of it and behind it."""

MAC = b"\x02\0\0\0\1\2"
GROUP_MACS = (b"\xff" * 6, b"\x01\0\x5e\0\0\5", b"\x33\x33\0\0\0\1")
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
EXTENSIONS = (0, 43, 60, 51, 44)
OPTIONS = (1, 1, 1, 1, 7, 68, 148, 131, 137, 0)
"""No operation, record route, timestamp, router alert, both source routes, and the end (IANA)."""

FLAGS = (0x02, 0x02, 0x02, 0x02, 0x10, 0x10, 0x18, 0x12, 0x11, 0x04, 0x14, 0x06, 0x03, 0x00, 0xC2, 0xFF, 0xC0, 0x29)
SIZES = (0, 0, 1, 6, 10, 40, 100, 540, 552, 560, 572, 1200, 1240, 1260, 1340, 1360, 1361, 1380, 1400, 1420, 1440, 1460)
CLIENT_PORTS = (40000, 40001, 80)
ODD_SOURCES = {
    4: (
        "224.0.0.5",
        "255.255.255.255",
        "0.0.0.0",
        "0.1.2.3",
        "239.255.255.250",
        "127.0.0.1",
        "240.0.0.1",
        "169.254.0.1",
    ),
    6: (
        "ff02::1",
        "::",
        "fe80::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "::1",
        "::ffff:192.0.2.7",
        "::7.7.7.7",
        "0:0:0:1::",
    ),
}
"""Martians, link-local addresses, and what is beside them."""

ROUTERS = {4: ("10.0.9.1", "198.51.100.1", "127.0.0.1"), 6: ("2001:db8:9::1", "2001:db8:c::1", "fe80::1")}
"""Who sends errors about packets of others: routers before and behind the balancer, and what is none."""


@dataclass(frozen=True)
class _Talk:
    """Who talks to whom, and which protocol."""

    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int
    protocol: int


class Frames:
    """A source of frames, mostly for the VIPs of a configuration; `recent` are the flows it made packets of."""

    def __init__(self, chance: random.Random, config: Config) -> None:
        self._chance = chance
        self.recent: deque[FlowKey] = deque(maxlen=60)
        self._quic = [vip for vip in config.vips.values() if vip.quic is not None]
        self._vips = [vip.key for vip in config.vips.values()]
        self._nat = [backend for backend in config.backends.values() if backend.nat is not None]
        self._tunnels = config.decap.at
        self._families = [4, 4, 4, 6] if all(key.address.version == 4 for key in self._vips) else [4, 6]

    def make(self) -> bytes:
        """Return the next frame."""
        odd = self._chance.random
        talk = self._talk()
        family: int = talk.source.version
        payload, protocol = self._transport(talk)
        if self._nat and protocol in {ICMP, ICMPV6} and odd() < 0.5:
            talk = replace(talk, source=type(talk.source)(self._chance.choice(ROUTERS[family])))
        packet = self._ipv4(talk, protocol, payload) if family == 4 else self._ipv6(talk, protocol, payload)
        if self._tunnels and odd() < 0.5:
            family, packet = self._wrapped(family, packet)
        frame = self._link(family) + packet
        if odd() < 0.05:
            frame = frame[: self._chance.randrange(14, len(frame) + 1)]
        if odd() < 0.1:
            frame += self._chance.randbytes(self._chance.randrange(1, 40))
        if odd() < 0.03:
            frame = self._flipped(frame)
        return frame[:MOST]

    def _talk(self) -> _Talk:
        """Return who talks to whom: nearly always a client to a VIP, often one that talked before."""
        chance = self._chance
        if self.recent and chance.random() < 0.5:
            key = chance.choice(self.recent)
            return _Talk(key.source, key.source_port, key.destination, key.destination_port, key.protocol)
        if self._nat and chance.random() < 0.5:
            return self._reply()
        family = chance.choice(self._families)
        destination, port, protocol = self._service(family)
        source = chance.choice(CLIENTS[family])
        if chance.random() < 0.02:
            source = chance.choice([destination, destination, _neighbour(destination)])
        elif chance.random() < 0.02:
            source = type(destination)(chance.choice(ODD_SOURCES[family]))
        talk = _Talk(source, chance.choice(CLIENT_PORTS), destination, port, protocol)
        self.recent.append(FlowKey(source, talk.source_port, destination, port, protocol))
        return talk

    def _reply(self) -> _Talk:
        """Return what a NAT backend sends to a client, from a port that serves or another one."""
        chance = self._chance
        backend = chance.choice(self._nat)
        assert backend.nat is not None, "it is one of those"
        port = chance.choice([backend.nat.first_port, backend.nat.last_port, *PORTS])
        protocol = chance.choice([*backend.nat.protocols, TCP, UDP])
        client = chance.choice(CLIENTS[backend.address.version])
        self.recent.append(FlowKey(backend.address, port, client, 40000, protocol))
        return _Talk(backend.address, port, client, 40000, protocol)

    def _service(self, family: int) -> tuple[IPAddress, int, int]:
        """Return an address, a port and a protocol: those of a VIP, or others."""
        chance = self._chance
        mine = [key for key in self._vips if key.address.version == family]
        if mine and chance.random() < 0.8:
            key = chance.choice(mine)
            address = key.address if key.is_one_address else key.address + chance.randrange(key.network.num_addresses)
            return address, chance.choice(key.ports), chance.choice(key.protocol.numbers)
        address = chance.choice(VIP_ADDRESSES[family])
        if chance.random() < 0.3:
            address = type(address)(chance.choice([0, 1, 0xCB0071FE]))
        return address, chance.choice([*PORTS, 0, 20480, 65535]), chance.choice([TCP, UDP])

    def _transport(self, talk: _Talk) -> tuple[bytes, int]:
        """Return what follows the IP header, and its protocol."""
        chance = self._chance
        kind = chance.random()
        icmp = ICMP if talk.source.version == 4 else ICMPV6
        if kind < 0.06:
            return self._echo(talk, icmp), icmp
        if kind < 0.16:
            return self._error(talk, icmp), icmp
        if kind < 0.18:
            return chance.randbytes(chance.randrange(60)), chance.choice([icmp, ICMP, ICMPV6, 4, 41, 50, 59, 132, 255])
        if talk.protocol == UDP:
            return self._udp(talk), UDP
        return self._tcp(talk), TCP

    def _tcp(self, talk: _Talk) -> bytes:
        chance = self._chance
        offset = 5 if chance.random() < 0.9 else chance.randrange(16)
        options = bytes(max(0, offset - 5) * 4) if chance.random() < 0.8 else b""
        ports = struct.pack("!HH", talk.source_port, talk.destination_port)
        rest = struct.pack("!IIBBH", 1, 2, offset << 4, chance.choice(FLAGS), 99) + chance.randbytes(4)
        return ports + rest + options + bytes(chance.choice(SIZES))

    def _udp(self, talk: _Talk) -> bytes:
        chance = self._chance
        data = self._quic_datagram() if self._quic and chance.random() < 0.7 else bytes(chance.choice(SIZES))
        length = 8 + len(data)
        if chance.random() < 0.06:
            length = max(0, min(0xFFFF, length + chance.choice([-9999, -8, -1, 1, 2, 100, 60000])))
        checksum = chance.choice([0, 0xFFFF, *range(77, 80)]) if self._nat else 77
        return struct.pack("!HHHH", talk.source_port, talk.destination_port, length, checksum) + data

    def _quic_datagram(self) -> bytes:
        """Return what may be a QUIC packet: mostly one with a connection ID that some backend has given out."""
        chance = self._chance
        ids = chance.choice(self._quic).quic
        assert ids is not None
        config_id = ids.config_id if chance.random() < 0.9 else chance.randrange(8)
        server_id = bytes([chance.choice([1, 2, 3, 4])]) * ids.server_id_bytes
        connection_id = bytes([config_id << 5 | chance.randrange(32)]) + server_id + bytes(chance.randrange(8))
        if chance.random() < 0.6:
            data = bytes([chance.randrange(0x80)]) + connection_id
        else:
            told = len(connection_id) if chance.random() < 0.8 else chance.randrange(21)
            data = bytes([0x80 | chance.randrange(0x80)]) + b"\0\0\0\1" + bytes([told]) + connection_id
        return data + chance.randbytes(chance.choice([0, 0, 3, 10, 1200]))

    def _echo(self, talk: _Talk, icmp: int) -> bytes:
        chance = self._chance
        kind = (8 if icmp == ICMP else 128) if chance.random() < 0.9 else chance.randrange(256)
        code = 0 if chance.random() < 0.95 else 1
        checksum = chance.choice([0, 0xFFFF, 0xF7FF, 0xF7FE, 0xFEFF, 0xFFFE, chance.getrandbits(16)])
        return struct.pack("!BBH", kind, code, checksum) + chance.randbytes(chance.choice([0, 4, 4, 4, 4, 60]))

    def _error(self, talk: _Talk, icmp: int) -> bytes:
        """Return an ICMP error about a packet that the VIP has sent to the client."""
        chance = self._chance
        kinds = [3, 3, 11, 12, 4, 5] if icmp == ICMP else [1, 2, 3, 4, 5, 135]
        back = _Talk(talk.destination, talk.destination_port, talk.source, talk.source_port, talk.protocol)
        if chance.random() < 0.03:
            back = replace(back, destination=type(talk.source)(chance.choice(ODD_SOURCES[talk.source.version])))
        transport, protocol = self._tcp(back) if talk.protocol == TCP else self._udp(back), talk.protocol
        if chance.random() < 0.1:
            transport, protocol = self._tunnelled(back)
        wrap = self._ipv4 if icmp == ICMP else self._ipv6
        quoted = wrap(back, protocol, transport)
        if chance.random() < 0.7:
            quoted = quoted[: chance.choice([28, 28, 36, 48, 48, 56, 60, 64, 80, 548])]
        return struct.pack("!BBHI", chance.choice(kinds), chance.randrange(5), chance.getrandbits(16), 1400) + quoted

    def _tunnelled(self, talk: _Talk) -> tuple[bytes, int]:
        """Return what follows the outer IP header of a packet in a tunnel, and its protocol."""
        inner = self._chance.randbytes(self._chance.choice([0, 4, 7, 8, 40]))
        if self._chance.random() < 0.5:
            return inner, self._chance.choice([4, 41])
        port = self._chance.choice([6080, 6080, 6081])
        return struct.pack("!HHHH", 0xC000, port, 8 + len(inner), 0) + inner, UDP

    def _wrapped(self, family: int, packet: bytes) -> tuple[int, bytes]:
        """Return the packet in a tunnel, nearly always to one that ends here, and the family of the outer header."""
        chance = self._chance
        protocol = (4 if family == 4 else 41) if chance.random() < 0.97 else chance.choice([4, 41, 47, 59])
        end = chance.choice(self._tunnels)
        if chance.random() < 0.05:
            end = chance.choice(TUNNEL_ENDS[end.version])
        source = chance.choice(TUNNEL_SOURCES[end.version])
        if chance.random() < 0.03:
            source = chance.choice([end, type(end)(chance.choice(ODD_SOURCES[end.version]))])
        if chance.random() < 0.1:  # neighbour discovery, and who is near
            packet = self._near(packet) if family == 6 else packet
        kind = chance.random()
        if kind < 0.5:
            payload = packet
        else:
            payload, protocol = self._gue(packet, protocol, source, end), UDP
        if chance.random() < 0.7:
            return end.version, self._tidy(source, end, protocol, payload)
        talk = _Talk(source, 0, end, 0, protocol)
        wrap = self._ipv4 if end.version == 4 else self._ipv6
        return end.version, wrap(talk, protocol, payload)

    def _tidy(self, source: IPAddress, end: IPAddress, protocol: int, payload: bytes) -> bytes:
        """Return an outer packet as tunnels send it."""
        tos = self._chance.choice([0, 1, 2, 3, 0xB8, 0xBB])
        if end.version == 6:
            first = 6 << 28 | tos << 20 | self._chance.getrandbits(20)
            return struct.pack("!IHBB", first, len(payload), protocol, 64) + source.packed + end.packed + payload
        header = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(payload), 0, 0x4000, 64, protocol, 0)
        header += source.packed + end.packed
        checksum = internet_checksum(header).to_bytes(2, "big")
        return header[:10] + checksum + header[12:] + payload

    def _gue(self, packet: bytes, protocol: int, source: IPAddress, end: IPAddress) -> bytes:
        """Return the UDP datagram that has the packet in it, with a header of GUE's or without."""
        chance = self._chance
        gue = b"" if chance.random() < 0.5 else bytes([0, protocol, 0, 0])
        if gue and chance.random() < 0.1:
            gue = bytes([chance.choice([0, 1, 0x20, 0x40, 0x80]), protocol, chance.choice([0, 1]), 0])
        data = gue + packet
        length = self._length(8 + len(data))
        port = 6080 if chance.random() < 0.97 else 6081
        udp = struct.pack("!HHHH", 0xC001, port, length, 0) + data
        if chance.random() < 0.5:
            return udp
        pseudo = source.packed + end.packed + struct.pack("!IBBBB", length, 0, 0, 0, UDP)
        checksum = internet_checksum(pseudo + udp[:length]) if chance.random() < 0.8 else chance.getrandbits(16)
        return udp[:6] + (checksum or 0xFFFF).to_bytes(2, "big") + udp[8:]

    def _near(self, packet: bytes) -> bytes:
        """Return an IPv6 packet, made one that only who is on the link may send, or nearly so."""
        chance = self._chance
        if len(packet) < 40 or chance.random() < 0.3:
            return packet[:24] + type(CLIENTS[6][0])(chance.choice(ODD_SOURCES[6])).packed + packet[40:]
        packet = packet[:7] + b"\xff" + packet[8:]
        if chance.random() < 0.5:
            kind = chance.choice([132, 133, 135, 137, 138])
            packet = packet[:4] + b"\0\x08\x3a\xff" + packet[8:40] + bytes([kind]) + bytes(7) + packet[48:]
        return packet

    def _ipv4(self, talk: _Talk, protocol: int, payload: bytes) -> bytes:
        chance = self._chance
        odd = chance.random
        words = 5 if odd() < 0.85 else chance.randrange(16)
        options = self._options(max(0, words - 5) * 4)
        fragment = chance.choice([0, 0x4000, 0x8000]) if odd() < 0.88 else self._fragment_field()
        header = bytearray(
            struct.pack(
                "!BBHHHBBH4s4s",
                (4 if odd() < 0.99 else chance.randrange(16)) << 4 | words,
                chance.getrandbits(8),
                self._length(20 + len(options) + len(payload)),
                chance.randrange(4) if fragment & 0x3FFF else chance.getrandbits(16),
                fragment,
                chance.choice([64, 64, 64, 255, 2]) if odd() < 0.97 else chance.choice([0, 1]),
                protocol,
                0,
                talk.source.packed,
                talk.destination.packed,
            )
            + options
        )
        checksum = internet_checksum(bytes(header)) if odd() < 0.96 else chance.getrandbits(16)
        header[10:12] = checksum.to_bytes(2, "big")
        return bytes(header) + payload

    def _options(self, room: int) -> bytes:
        """Return IPv4 options in all of the room: well-formed, as good as, or any bytes."""
        chance = self._chance
        if chance.random() < 0.2:
            return chance.randbytes(room)
        options = b""
        while len(options) < room:
            kind = chance.choice(OPTIONS)
            if kind > 1:
                length = chance.choice([0, 1, 2, 3, 7, 11, 39, 255]) if chance.random() < 0.1 else chance.choice([3, 7])
                options += bytes([kind, length]) + chance.choice([b"\x83", b"\0"]) * max(0, length - 2)
            else:
                options += bytes([kind])
        return options[:room]

    def _fragment_field(self) -> int:
        chance = self._chance
        first, later, inside = 0x2000, 0x0010, 0x0001
        return chance.choice([first, first, first, 0x2010, later, inside, inside, inside, chance.getrandbits(16)])

    def _ipv6(self, talk: _Talk, protocol: int, payload: bytes) -> bytes:
        chance = self._chance
        odd = chance.random
        following = protocol
        if odd() < 0.3:
            number = chance.choice([1, 1, 1, 2, 3, 5, 6, 6, 7])
            for place in reversed(range(number)):
                kind = chance.choice(EXTENSIONS if place == 0 or odd() < 0.05 else EXTENSIONS[1:])
                payload = self._extension(kind, following) + payload
                following = kind
        first = (6 if odd() < 0.99 else chance.randrange(16)) << 28 | chance.getrandbits(28)
        hops = chance.choice([64, 64, 64, 255, 2]) if odd() < 0.97 else chance.choice([0, 1])
        fixed = struct.pack("!IHBB", first, self._length(len(payload)), following, hops)
        return fixed + talk.source.packed + talk.destination.packed + payload

    def _extension(self, kind: int, following: int) -> bytes:
        chance = self._chance
        if kind == 44:
            offset = chance.choice([0, 1, 1, 1, 0x0010, 0x0011, 0x0006, 0x0007, chance.getrandbits(16)])
            return struct.pack("!BBHI", following, chance.getrandbits(8), offset, chance.randrange(3))
        if kind == 43 and chance.random() < 0.7:
            units = chance.choice([0, 2])
            left = chance.choice([0, 0, 0, 1, 255])
            return bytes([following, units, chance.choice([0, 2, 3, 4, 253]), left]) + chance.randbytes(4 + 8 * units)
        units = chance.choice([0, 0, 0, 1, 2, 5]) if chance.random() < 0.95 else chance.randrange(256)
        size = (units + 2) * 4 if kind == 51 else (units + 1) * 8
        if chance.random() < 0.02:
            size = max(2, size - chance.choice([1, 4, 8]))
        return bytes([following, units]) + chance.randbytes(size - 2)

    def _length(self, right: int) -> int:
        """Return the length to tell, which sometimes is not right."""
        if self._chance.random() < 0.95:
            return right
        return max(0, min(0xFFFF, right + self._chance.choice([-9999, -100, -8, -4, -1, 1, 2, 8, 40, 60000])))

    def _link(self, family: int) -> bytes:
        chance = self._chance
        tags = b""
        if chance.random() < 0.25:
            for _ in range(chance.choice([1, 1, 1, 2, 2, 2, 3])):
                tags += chance.choice([b"\x81\x00", b"\x81\x00", b"\x88\xa8"]) + chance.randbytes(2)
        kind = b"\x08\x00" if family == 4 else b"\x86\xdd"
        if chance.random() < 0.01:
            kind = chance.choice([b"\x08\x06", b"\x86\xdd", b"\x08\x00", b"\x81\x00", b"\x00\x08", b"\x88\x47"])
        to = MAC if chance.random() < 0.98 else chance.choice(GROUP_MACS)
        of = b"\x02\0\0\0\1\1" if chance.random() < 0.96 else chance.choice([*GROUP_MACS, bytes(6), MAC])
        return to + of + tags + kind

    def _flipped(self, frame: bytes) -> bytes:
        """Return the frame with some bits of its headers changed."""
        changed = bytearray(frame)
        for _ in range(self._chance.choice([1, 1, 2, 5])):
            changed[self._chance.randrange(12, min(len(changed), 100))] ^= 1 << self._chance.randrange(8)
        return bytes(changed)


def _neighbour(address: IPAddress) -> IPAddress:
    return type(address)(int(address) ^ 1)
