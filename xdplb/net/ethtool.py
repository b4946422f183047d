"""The two things asked of a NIC's driver, by ioctl: it follows the thread's network namespace, /sys does not."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

__all__ = ["driver", "finish_checksums"]

_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x03
_ETHTOOL_STXCSUM = 0x17
_DRVINFO_BYTES = 196
_IFREQ_BYTES = 40


def driver(name: str) -> str | None:
    """Return the name of the interface's driver, None where it has none."""
    try:
        answer = _ask(name, struct.pack("I", _ETHTOOL_GDRVINFO).ljust(_DRVINFO_BYTES, b"\0"))
    except OSError:
        return None
    return answer[4:36].split(b"\0")[0].decode() or None


def finish_checksums(name: str) -> None:
    """Have the kernel finish the checksums of what `name` sends. Raises OSError.

    A veth leaves them to a device that is not there, and XDP forwards the frame as it is.
    """
    _ask(name, struct.pack("II", _ETHTOOL_STXCSUM, 0))


def _ask(name: str, command: bytes) -> bytes:
    buffer = array.array("B", command)
    request = struct.pack("16sP", name.encode(), buffer.buffer_info()[0]).ljust(_IFREQ_BYTES, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
    return buffer.tobytes()
