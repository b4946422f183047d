# SPDX-License-Identifier: Apache-2.0
"""Writing a capture's file: the blocks of packets as they are read."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence

from xdplb import __version__
from xdplb.control.capture.pcapng import (
    Direction,
    EnhancedPacket,
    interface_block,
    lost_block,
    packet_block,
    section_block,
)
from xdplb.control.capture.words import Names, decision_text
from xdplb.dataplane.decisions import CapturedFrame, CapturedPacket

__all__ = ["Recorder"]

DESCRIPTIONS = {Direction.IN: "as it came in by", Direction.OUT: "as it left by"}


class Recorder:
    """Makes the file: an interface for each NIC and direction; each packet as it came in and, if sent, as it left."""

    def __init__(self, snap_bytes: int) -> None:
        self.packets = 0
        self._snap_bytes = snap_bytes
        self._interfaces: dict[tuple[int, Direction], int] = {}
        self._lost = 0
        self._offset = _wall_offset()

    def begin(self, names: Names) -> bytes:
        """Return the beginning of the file, which is complete even if no packet follows."""
        nics = (self._interface(nic, direction, names) for nic in names.nics for direction in Direction)
        return section_block(f"xdplb {__version__}", f"Linux {platform.release()}") + b"".join(
            block for _, block in nics
        )

    def blocks(self, packets: Sequence[CapturedPacket], lost: int, names: Names) -> bytes:
        """Return the blocks of these packets; `lost` frames were lost since the start of the capture."""
        made = [block for packet in packets for block in self._packet(packet, names)]
        self.packets += len(packets)
        if lost != self._lost and self._interfaces:
            self._lost = lost
            made.append(lost_block(0, time.time_ns(), lost))
        return b"".join(made)

    def _packet(self, packet: CapturedPacket, names: Names) -> Iterator[bytes]:
        text = decision_text(packet, names)
        yield self._frame(packet, packet.came, Direction.IN, text, names)
        if packet.left is not None:
            yield self._frame(packet, packet.left, Direction.OUT, text, names)

    def _frame(
        self, packet: CapturedPacket, frame: CapturedFrame, direction: Direction, text: str, names: Names
    ) -> bytes:
        number, new = self._interface(frame.ifindex, direction, names)
        return new + packet_block(
            EnhancedPacket(
                interface=number,
                time=frame.time + self._offset,
                data=frame.data,
                whole_bytes=frame.whole_bytes,
                direction=direction,
                id=packet.came.time,
                verdict=packet.decision.verdict,
                comment=text,
            )
        )

    def _interface(self, ifindex: int, direction: Direction, names: Names) -> tuple[int, bytes]:
        """Return the number of an interface, and its block if the file does not have it yet."""
        known = self._interfaces.get((ifindex, direction))
        if known is not None:
            return known, b""
        number = self._interfaces[ifindex, direction] = len(self._interfaces)
        name = names.nic(ifindex)
        return number, interface_block(name, f"{DESCRIPTIONS[direction]} {name}", self._snap_bytes)


def _wall_offset() -> int:
    """Return the ns to add to CLOCK_MONOTONIC to get Unix time, as of now."""
    # The wall clock is read between two readings of the other, whose mean is closest to that moment.
    early = time.monotonic_ns()
    now = time.time_ns()
    return now - (early + time.monotonic_ns()) // 2
