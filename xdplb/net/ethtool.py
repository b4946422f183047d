# SPDX-License-Identifier: Apache-2.0
"""What is asked of a NIC's driver, by ioctl: unlike /sys, it follows the network namespace of the calling thread."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

__all__ = ["LRO", "RX_VLAN", "driver", "finish_checksums", "flags", "leave_checksums", "leaves_checksums"]

RX_VLAN = 1 << 8
"""In `flags`: the NIC strips VLAN tags of received frames."""
LRO = 1 << 15
"""In `flags`: the NIC merges received packets."""

_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x03
_ETHTOOL_GTXCSUM = 0x16
_ETHTOOL_STXCSUM = 0x17
_ETHTOOL_GFLAGS = 0x25
_DRVINFO_BYTES = 196
_IFREQ_BYTES = 40


def driver(name: str) -> str | None:
    """Return the name of the interface's driver, None if it has none."""
    try:
        answer = _ask(name, struct.pack("I", _ETHTOOL_GDRVINFO).ljust(_DRVINFO_BYTES, b"\0"))
    except OSError:
        return None
    return answer[4:36].split(b"\0")[0].decode() or None


def flags(name: str) -> int:
    """Return the interface's offloads as bits of ETHTOOL_GFLAGS, 0 if it does not say."""
    try:
        answer = _ask(name, struct.pack("II", _ETHTOOL_GFLAGS, 0))
    except OSError:
        return 0
    found: int = struct.unpack("II", answer)[1]
    return found


def finish_checksums(name: str) -> None:
    """Have the kernel compute the checksums of what `name` sends. Raises OSError.

    A veth leaves them to the device at the other end. XDP forwards the frame before any device completes them.
    """
    _ask(name, struct.pack("II", _ETHTOOL_STXCSUM, 0))


def leave_checksums(name: str) -> None:
    """Have the kernel leave the checksums of what `name` sends to the device. Raises OSError."""
    _ask(name, struct.pack("II", _ETHTOOL_STXCSUM, 1))


def leaves_checksums(name: str) -> bool:
    """Return whether the kernel leaves the checksums of what `name` sends to the device. Raises OSError."""
    return bool(struct.unpack("II", _ask(name, struct.pack("II", _ETHTOOL_GTXCSUM, 0)))[1])


def _ask(name: str, command: bytes) -> bytes:
    """Return `command` as the driver filled it in. Raises OSError."""
    buffer = array.array("B", command)
    # struct ifreq: the name, then a pointer to the buffer that the kernel reads and writes.
    request = struct.pack("16sP", name.encode(), buffer.buffer_info()[0]).ljust(_IFREQ_BYTES, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
    return buffer.tobytes()
