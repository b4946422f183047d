# SPDX-License-Identifier: Apache-2.0
"""What a too-big message says of a path's MTU, and whether that can be true. Pure."""

from __future__ import annotations

from xdplb.control.plan.path_mtu import LEAST_MTU
from xdplb.net.icmp_message import IcmpError

__all__ = ["told_mtu"]

_PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 576)
"""The MTUs in use, by RFC 1191, section 7.1, for routers that do not say theirs; 576 instead of 508, 296 and 68."""

_LEAST_BELIEVED = {4: 68, 6: LEAST_MTU[6]}  # RFC 791; RFC 8201, section 4


def told_mtu(error: IcmpError) -> int | None:
    """Return the MTU of the path by a too-big message, at least that of LEAST_MTU; None if it cannot be true.

    It cannot if the packet that it quotes would have fitted, or if the MTU is less than the version of IP allows.
    """
    version, length = error.quote.destination.version, error.quote.length
    mtu = error.mtu
    if not mtu and version == 4:
        mtu = next((each for each in _PLATEAUS if each < length), 0)
    if not _LEAST_BELIEVED[version] <= mtu < length:
        return None
    return max(mtu, LEAST_MTU[version])
