# SPDX-License-Identifier: Apache-2.0
"""What can be asked about backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from .answer import Answer
from .bodies import (
    AllBackendsOut,
    BackendChangedOut,
    BackendIn,
    BackendListChangedOut,
    BackendListOut,
    BackendOut,
    BackendPatch,
    BackendPut,
    CertificateOut,
    DrainIn,
)
from .paths import backend_path, vip_path
from .transport import How, Transport

__all__ = ["Backends"]


class Backends:
    """The backends of VIPs. One is given by its VIP, by name or key, and its address."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self, *, within: float | None = None) -> Answer[AllBackendsOut]:
        """Return the backends of all VIPs, each with its VIP."""
        return self._transport.request("GET", "/v1/backends", within=within)

    def list(self, vip: str) -> Answer[BackendListOut]:
        """Return the backends of a VIP, sorted by address. Raises NotFoundError if there is no such VIP."""
        return self._transport.request("GET", vip_path(vip, "backends"))

    def get(self, vip: str, address: str, *, within: float | None = None) -> Answer[BackendOut]:
        """Return one backend: its configuration and its status. Raises NotFoundError."""
        return self._transport.request("GET", backend_path(vip, address), within=within)

    def create(self, vip: str, backend: BackendIn, **how: Unpack[How]) -> Answer[BackendChangedOut]:
        """Add a backend. It is no error if the same exists, but ConflictError if it is different."""
        return self._transport.change("POST", vip_path(vip, "backends"), backend, how)

    def replace(self, vip: str, backends: Sequence[BackendIn], **how: Unpack[How]) -> Answer[BackendListChangedOut]:
        """Replace all backends of a VIP in one step. Those in both sets keep their connections."""
        return self._transport.change("PUT", vip_path(vip, "backends"), {"backends": [*backends]}, how)

    def put(self, vip: str, address: str, settings: BackendPut, **how: Unpack[How]) -> Answer[BackendChangedOut]:
        """Add a backend or replace all of its settings."""
        return self._transport.change("PUT", backend_path(vip, address), settings, how)

    def patch(self, vip: str, address: str, settings: BackendPatch, **how: Unpack[How]) -> Answer[BackendChangedOut]:
        """Change the settings that are given; None sets the default."""
        return self._transport.change("PATCH", backend_path(vip, address), settings, how)

    def delete(self, vip: str, address: str, **how: Unpack[How]) -> Answer[None]:
        """Remove a backend at once: its connections break. Raises NotFoundError if there is none."""
        return self._transport.change("DELETE", backend_path(vip, address), None, how)

    def drain(
        self, vip: str, address: str, times: DrainIn | None = None, **how: Unpack[How]
    ) -> Answer[BackendChangedOut]:
        """Send a backend no new connections. Its `status.drain` says how many are left; see `get`."""
        return self._transport.change("POST", backend_path(vip, address, "drain"), times, how)

    def certificate(self, vip: str, address: str) -> Answer[CertificateOut]:
        """Return what came of a backend's connections in its last drain. NotFoundError if there has been none."""
        return self._transport.request("GET", backend_path(vip, address, "drain"))

    def undrain(self, vip: str, address: str, **how: Unpack[How]) -> Answer[BackendChangedOut]:
        """Send new connections to a drained or draining backend again."""
        return self._transport.change("DELETE", backend_path(vip, address, "drain"), None, how)
