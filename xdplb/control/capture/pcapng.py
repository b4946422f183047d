# SPDX-License-Identifier: Apache-2.0
"""Encoding the blocks of a pcapng file (draft-ietf-opsawg-pcapng), which Wireshark and tcpdump read.

Blocks are little-endian and hold Ethernet frames; times are in ns since the Unix epoch.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Direction", "EnhancedPacket", "interface_block", "lost_block", "packet_block", "section_block"]

SECTION, INTERFACE, STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 1, 5, 6
BYTE_ORDER, VERSION, UNKNOWN_LENGTH = 0x1A2B3C4D, (1, 0), -1
ETHERNET = 1

END_OF_OPTIONS, COMMENT = 0, 1
SECTION_OS, SECTION_APPLICATION = 3, 4
INTERFACE_NAME, INTERFACE_DESCRIPTION, INTERFACE_RESOLUTION = 2, 3, 9
PACKET_FLAGS, PACKET_ID, PACKET_VERDICT = 2, 5, 7
STATISTICS_OS_DROP = 7

NANOSECONDS = 9
"""if_tsresol: timestamps are in units of 10^-9 s."""

XDP_VERDICT = 2
"""The type of the verdict that follows: an XDP_* code of eBPF."""

LONGEST_OPTION = 0xFFFF


class Direction(IntEnum):
    """The lowest two bits of a packet's flags."""

    IN = 1
    OUT = 2


@dataclass(frozen=True, slots=True)
class EnhancedPacket:
    """A frame of `whole_bytes`, of which `data` was captured. The incoming and the outgoing frame share an `id`.

    `interface` is the index of an interface block in the file, `verdict` is XDP's.
    """

    interface: int
    time: int
    data: bytes
    whole_bytes: int
    direction: Direction
    id: int
    verdict: int
    comment: str


def section_block(application: str, system: str) -> bytes:
    """Return the section header, with which a file begins: the application and the system that wrote it."""
    options = [(SECTION_OS, system.encode()), (SECTION_APPLICATION, application.encode())]
    return _block(SECTION, struct.pack("<IHHq", BYTE_ORDER, *VERSION, UNKNOWN_LENGTH), options)


def interface_block(name: str, description: str, snap_bytes: int) -> bytes:
    """Return the block of an interface. Packets refer to it by its index among these blocks."""
    options = [
        (INTERFACE_NAME, name.encode()),
        (INTERFACE_DESCRIPTION, description.encode()),
        (INTERFACE_RESOLUTION, bytes([NANOSECONDS])),
    ]
    return _block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, snap_bytes), options)


def packet_block(packet: EnhancedPacket) -> bytes:
    """Return the block of a frame."""
    sizes = len(packet.data), packet.whole_bytes
    fixed = struct.pack("<IIIII", packet.interface, *_time(packet.time), *sizes)
    options = [
        (COMMENT, packet.comment.encode()),
        (PACKET_FLAGS, struct.pack("<I", packet.direction)),
        (PACKET_ID, struct.pack("<Q", packet.id)),
        (PACKET_VERDICT, struct.pack("<BQ", XDP_VERDICT, packet.verdict)),
    ]
    return _block(ENHANCED_PACKET, fixed + _padded(packet.data), options)


def lost_block(interface: int, time: int, lost: int) -> bytes:
    """Return a statistics block: how many frames of an interface were lost up to this time."""
    options = [(STATISTICS_OS_DROP, struct.pack("<Q", lost))]
    return _block(STATISTICS, struct.pack("<III", interface, *_time(time)), options)


def _time(nanoseconds: int) -> tuple[int, int]:
    return nanoseconds >> 32, nanoseconds & 0xFFFFFFFF


def _block(kind: int, body: bytes, options: list[tuple[int, bytes]]) -> bytes:
    content = body + b"".join(_option(code, value) for code, value in (*options, (END_OF_OPTIONS, b"")))
    length = struct.pack("<I", 12 + len(content))
    return struct.pack("<I", kind) + length + content + length


def _option(code: int, value: bytes) -> bytes:
    value = value[:LONGEST_OPTION]
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    """Return `data` padded with zeros to a multiple of 4 bytes."""
    return data + bytes(-len(data) % 4)
