# SPDX-License-Identifier: Apache-2.0
"""The Internet checksum, by the book."""

from __future__ import annotations

import struct

__all__ = ["internet_checksum", "is_right", "sum_of_words", "updated_checksum", "updated_words"]


def sum_of_words(data: bytes) -> int:
    """Return the one's complement sum of the 16-bit words; an odd last byte is padded with a zero byte."""
    total = sum(_words(data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def internet_checksum(data: bytes) -> int:
    """Return the checksum of `data`, in which the checksum's own field is 0.

    RFC 1071, section 1: "the 1's complement of this sum is placed in the checksum field".
    """
    return 0xFFFF - sum_of_words(data)


def is_right(data: bytes) -> bool:
    """Whether data that contains its checksum is as it was sent.

    RFC 1071, section 1: "If the result is all 1 bits (-0 in 1's complement arithmetic), the check succeeds."
    """
    return sum_of_words(data) == 0xFFFF


def updated_checksum(checksum: int, before: int, after: int) -> int:
    """Return the checksum after one of the words it covers has changed.

    RFC 1624, section 3, equation 3: "HC' = ~(~HC + ~m + m')".
    """
    total = (0xFFFF - checksum) + (0xFFFF - before) + after
    return 0xFFFF - sum_of_words(struct.pack("!I", total))


def updated_words(data: bytes, at: int, before: bytes, after: bytes) -> bytes:
    """Return `data` with the checksum at this place updated, word by word, after `before` has become `after`."""
    value = int.from_bytes(data[at : at + 2], "big")
    for old, new in zip(_words(before), _words(after), strict=True):
        if old != new:
            value = updated_checksum(value, old, new)
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]


def _words(data: bytes) -> tuple[int, ...]:
    """Return the 16-bit words; an odd last byte is padded with a zero byte."""
    padded = data + bytes(len(data) % 2)
    return struct.unpack(f"!{len(padded) // 2}H", padded)
