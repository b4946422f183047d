# SPDX-License-Identifier: Apache-2.0
"""What can be asked about access lists."""

from __future__ import annotations

from typing import Unpack

from .answer import Answer
from .bodies import AccessIn, AccessOut, AccessPatch
from .paths import vip_path
from .transport import How, Transport

__all__ = ["AccessLists"]

_PART = "access"


class AccessLists:
    """Which sources VIPs accept packets from. A VIP is given by its name or key."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, vip: str) -> Answer[AccessOut]:
        """Return the access list of a VIP; both parts are empty if it accepts any source."""
        return self._transport.request("GET", vip_path(vip, _PART))

    def put(self, vip: str, access: AccessIn, **how: Unpack[How]) -> Answer[AccessOut]:
        """Replace the whole access list of a VIP."""
        return self._transport.change("PUT", vip_path(vip, _PART), access, how)

    def patch(self, vip: str, access: AccessPatch, **how: Unpack[How]) -> Answer[AccessOut]:
        """Replace `allow`, `deny` or both."""
        return self._transport.change("PATCH", vip_path(vip, _PART), access, how)

    def delete(self, vip: str, **how: Unpack[How]) -> Answer[None]:
        """Remove the access list of a VIP: it accepts any source."""
        return self._transport.change("DELETE", vip_path(vip, _PART), None, how)
