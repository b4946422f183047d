# SPDX-License-Identifier: Apache-2.0
"""A pcapng stream from the daemon: cut into whole blocks, and counted."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["PcapngBlocks"]

STATISTICS, ENHANCED_PACKET = 5, 6
HEADER, TRAILER = 8, 4
PACKET_OPTIONS, STATISTICS_OPTIONS = 28, 20
PACKET_FLAGS, STATISTICS_OS_DROP = 2, 7
DIRECTION, IN = 3, 1


class PcapngBlocks:
    """Counters of the stream: all `frames`, the `packets` among them (those that came in), and `lost` frames."""

    def __init__(self) -> None:
        self.frames = 0
        self.packets = 0
        self.lost = 0
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Add the next bytes of the stream; return the blocks that are complete now."""
        data, at = self._rest + data, 0
        while len(data) - at >= HEADER:
            kind, length = struct.unpack_from("<II", data, at)
            if length < HEADER + TRAILER or len(data) - at < length:
                break
            self._count(kind, data[at : at + length - TRAILER])
            at += length
        self._rest = data[at:]
        return data[:at]

    def _count(self, kind: int, block: bytes) -> None:
        if kind == ENHANCED_PACKET:
            (captured,) = struct.unpack_from("<I", block, 20)
            options = dict(_options(block[PACKET_OPTIONS + captured + -captured % 4 :]))
            self.frames += 1
            self.packets += int.from_bytes(options.get(PACKET_FLAGS, b""), "little") & DIRECTION == IN
        elif kind == STATISTICS:
            lost = dict(_options(block[STATISTICS_OPTIONS:])).get(STATISTICS_OS_DROP, b"")
            self.lost = int.from_bytes(lost, "little")


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from("<HH", data, at)
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
