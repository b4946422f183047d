# SPDX-License-Identifier: Apache-2.0
"""What balancers of a cluster tell each other of open connections: which backend has one, where its slot does not tell.

Backends and VIPs are named by their addresses and times by their age, since ids and clocks are each balancer's own.
Thousands may come in a second, so records are rows of an array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .address import IPAddress
from .key import VipKey

__all__ = [
    "ENDED",
    "FIN",
    "NO_RECORDS",
    "OPENED",
    "RST",
    "SHARED_RECORD",
    "SharedRecords",
    "SharedSlots",
    "SharedState",
]

SHARED_RECORD = np.dtype(
    [
        ("source", "<u8", (2,)),  # as two numbers, the upper and the lower 64 bits; an IPv4 address in the lower
        ("destination", "<u8", (2,)),
        ("backend", "<u8", (2,)),
        ("source_port", "<u2"),
        ("destination_port", "<u2"),
        ("flags", "<u2"),
        ("version", "u1"),  # of the packets: 4 or 6
        ("protocol", "u1"),  # as in the IP header: TCP or UDP
        ("age", "<f4"),  # seconds since the last packet
        ("backend_version", "u1"),
        ("unused", "u1", (3,)),
    ]
)
"""A record: 64 bytes."""

SharedRecords = NDArray[np.void]
"""Rows of SHARED_RECORD, shape (n,)."""

NO_RECORDS: SharedRecords = np.zeros(0, SHARED_RECORD)

ESTABLISHED = 0x01
FIN = 0x02
RST = 0x04
SECOND_CHOICE = 0x08
OPENED = 0x20
"""The balancer that tells has seen how the connection was opened. Else it may have found it open, and only know where
its slot says that old connections are."""

ENDED = FIN | RST


@dataclass(frozen=True, slots=True, eq=False)
class SharedSlots:
    """The moving slots of a VIP: where old connections without a record are.

    `numbers` are the slots' (uint32), `previous` says of each which of `addresses` it was taken from (uint16), `ages`
    how many seconds ago it moved last (float32).
    """

    key: VipKey
    addresses: tuple[IPAddress, ...]
    numbers: NDArray[np.uint32]
    previous: NDArray[np.uint16]
    ages: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SharedState:
    """All that a balancer that starts must know of another: its records where slots do not tell, and moving slots."""

    slots: tuple[SharedSlots, ...]
    records: SharedRecords
