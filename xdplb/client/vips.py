# SPDX-License-Identifier: Apache-2.0
"""What can be asked about VIPs."""

from __future__ import annotations

from typing import Unpack

from .answer import Answer
from .bodies import VipChangedOut, VipListOut, VipOut, VipPatch, VipPost, VipPut
from .paths import vip_path
from .transport import How, Transport

__all__ = ["Vips"]


class Vips:
    """The VIPs. One is given by its name or its key, such as `203.0.113.10:443/tcp`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Answer[VipListOut]:
        """Return all VIPs, sorted by address, port and protocol."""
        return self._transport.request("GET", "/v1/vips")

    def get(self, vip: str) -> Answer[VipOut]:
        """Return one VIP: its configuration and its status. Raises NotFoundError."""
        return self._transport.request("GET", vip_path(vip))

    def create(self, vip: VipPost, **how: Unpack[How]) -> Answer[VipChangedOut]:
        """Add a VIP. It is no error if the same exists, but ConflictError if it is different."""
        return self._transport.change("POST", "/v1/vips", vip, how)

    def put(self, vip: str, settings: VipPut, **how: Unpack[How]) -> Answer[VipChangedOut]:
        """Add a VIP or replace all of its settings. Its backends, check and access list stay."""
        return self._transport.change("PUT", vip_path(vip), settings, how)

    def patch(self, vip: str, settings: VipPatch, **how: Unpack[How]) -> Answer[VipChangedOut]:
        """Change the settings that are given; None sets the default."""
        return self._transport.change("PATCH", vip_path(vip), settings, how)

    def delete(self, vip: str, **how: Unpack[How]) -> Answer[None]:
        """Remove a VIP with its backends, check and access list. Raises NotFoundError if there is none."""
        return self._transport.change("DELETE", vip_path(vip), None, how)
