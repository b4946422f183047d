# SPDX-License-Identifier: Apache-2.0
"""Decisions on packets, and captured packets, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from xdplb.model.address import IPNetwork

__all__ = ["Capture", "CaptureFilter", "CapturedFrame", "CapturedPacket", "Chosen", "KernelDecision"]

SNAP_BYTES = 256


class Chosen(StrEnum):
    """How the backend was found: CHOSEN_* of layout."""

    NOBODY = "nobody"
    OWNER = "owner"
    PREVIOUS = "previous"
    RECORD = "record"
    SCHEDULER = "scheduler"
    QUIC = "quic"
    FRAGMENT = "fragment"
    SECOND = "second choice"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class KernelDecision:
    """What would become of a packet: XDP's `verdict` (XDP_* of libbpf), and the `frame` as it would leave or be passed.

    `reason` is the name of one of REASONS, None where it is sent on. `vip_id` is None where no VIP was found, `slot`
    and what follows from it where no slot was asked; `owner` and `previous` are the two halves of that slot.
    """

    verdict: int
    frame: bytes
    reason: str | None
    chosen: Chosen = Chosen.NOBODY
    vip_id: int | None = None
    backend_id: int | None = None
    hash: int | None = None
    slot: int | None = None
    owner: int | None = None
    previous: int | None = None
    has_record: bool = False
    is_new: bool = False
    is_at_risk: bool = False


@dataclass(frozen=True, slots=True)
class CaptureFilter:
    """Which packets are captured: all whose addresses are in these prefixes, or one in `one_in` of them, by chance.

    Of a frame, the first `snap_bytes` are captured. Prefixes are of one family, or one of them is None.
    """

    source: IPNetwork | None = None
    destination: IPNetwork | None = None
    one_in: int = 1
    snap_bytes: int = SNAP_BYTES


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """A frame: `time` is ns of CLOCK_MONOTONIC, `whole_bytes` its length, `data` what was captured of it."""

    time: int
    ifindex: int
    whole_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """A packet as it came in, as it left (None where it did not leave), and what was decided on it.

    `decision.frame` is empty. The ports are those of the client and of the VIP, 0 where there are none.
    """

    came: CapturedFrame
    left: CapturedFrame | None
    source_port: int
    destination_port: int
    decision: KernelDecision


class Capture(Protocol):
    """A capture that runs."""

    @property
    def lost(self) -> int:
        """How many frames were lost because those before them had not been read."""
        ...

    def poll(self, seconds: float) -> Sequence[CapturedPacket]:
        """Return the packets captured since the last time, after this long at most."""
        ...
