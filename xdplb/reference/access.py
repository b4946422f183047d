# SPDX-License-Identifier: Apache-2.0
"""May it pass? Whether the VIP accepts packets from this source."""

from __future__ import annotations

from xdplb.dataplane.plane import VipEntry
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress

from .config import Config
from .reasons import Reason, Stop

__all__ = ["check_access"]


def check_access(config: Config, vip: VipEntry, source: IPAddress) -> None:
    """Stop a packet whose source the VIP's access list denies."""
    access_list = config.access.get(vip.id)
    if vip.has_access_list and access_list is not None and _denies(access_list, source):
        raise Stop(Reason.DROP_DENIED)


def _denies(access_list: AccessList, source: IPAddress) -> bool:
    """Whether the longest prefix that contains the source denies it; if both sides have that prefix, deny wins.

    A source in no prefix is denied if anything is allowed: then nothing else is.
    """
    allowed = max((prefix.prefixlen for prefix in access_list.allow if source in prefix), default=-1)
    denied = max((prefix.prefixlen for prefix in access_list.deny if source in prefix), default=-1)
    if allowed == denied == -1:
        return bool(access_list.allow)
    return denied >= allowed
