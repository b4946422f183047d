# SPDX-License-Identifier: Apache-2.0
"""The frames of the bench as frame.h takes them, and the plans of frames that are sent in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FCS", "IMIX", "PATTERN", "PATTERNS", "pattern"]

HEADER_BYTES = 80
PATTERNS = 12
IS_REPLY = 32
FCS = 4
"""Bytes of checksum that a NIC puts behind a frame: frame sizes count them, frames here do not have them."""

IMIX = (64, 64, 594, 64, 64, 594, 64, 594, 64, 594, 64, 1518)
"""Frame sizes of the simple IMIX: 7 of 64 bytes, 4 of 594, 1 of 1518."""

PATTERN = np.dtype([("length", "<u4"), ("network", "<u2"), ("version", "<u2"), ("header", "u1", HEADER_BYTES)])


def pattern(frame: bytes, *, is_reply: bool = False) -> NDArray[np.void]:
    """Return a frame of IPv4 or IPv6, behind up to two tags, as the programs take it: shape (1,).

    What frame.h varies must be as it expects it: an IPv4 id of 0xffff and a source whose low half is 0. Of a reply, of
    IPv4, it varies the destination's port instead of the source's.
    """
    network = 14
    while frame[network - 2 : network] in {b"\x81\x00", b"\x88\xa8"}:
        network += 4
    made = np.zeros(1, PATTERN)
    made["length"], made["version"] = len(frame), frame[network] >> 4
    made["network"] = network | (IS_REPLY if is_reply else 0)
    made["header"] = np.frombuffer(frame[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"), np.uint8)
    return made
