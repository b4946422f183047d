# SPDX-License-Identifier: Apache-2.0
"""What can be asked about health checks."""

from __future__ import annotations

from typing import Unpack

from .answer import Answer
from .bodies import AllChecksOut, ChecksIn, ChecksOut, HealthCheckIn, HealthCheckOut, ProbesOut
from .paths import backend_path, vip_path
from .transport import How, Patience, Transport

__all__ = ["Checks"]

_ONE = "health-check"
_SEVERAL = "checks"
_PROBES = Patience(120.0, 120.0)


class Checks:
    """The health checks of VIPs, each of which is given by its name or key.

    `get`, `put` and `delete` are for a VIP that has at most one; `of`, `put_all` and `delete_all` for any.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, vip: str) -> Answer[HealthCheckOut]:
        """Return the first check of a VIP and its results. Raises NotFoundError if it has none."""
        return self._transport.request("GET", vip_path(vip, _ONE))

    def put(self, vip: str, check: HealthCheckIn, **how: Unpack[How]) -> Answer[HealthCheckOut]:
        """Set the check of a VIP, in place of the one it has. Raises ConflictError if it has several."""
        return self._transport.change("PUT", vip_path(vip, _ONE), check, how)

    def delete(self, vip: str, **how: Unpack[How]) -> Answer[None]:
        """Remove the check of a VIP: its backends count as up. Raises NotFoundError if it has none."""
        return self._transport.change("DELETE", vip_path(vip, _ONE), None, how)

    def all(self) -> Answer[AllChecksOut]:
        """Return the last results of the checks of all VIPs."""
        return self._transport.request("GET", "/v1/checks")

    def of(self, vip: str) -> Answer[ChecksOut]:
        """Return all checks of a VIP and their results."""
        return self._transport.request("GET", vip_path(vip, _SEVERAL))

    def put_all(self, vip: str, checks: ChecksIn, **how: Unpack[How]) -> Answer[ChecksOut]:
        """Set all checks of a VIP. One that stays keeps its results."""
        return self._transport.change("PUT", vip_path(vip, _SEVERAL), checks, how)

    def delete_all(self, vip: str, **how: Unpack[How]) -> Answer[None]:
        """Remove all checks of a VIP: its backends count as up. Raises NotFoundError if it has none."""
        return self._transport.change("DELETE", vip_path(vip, _SEVERAL), None, how)

    def probe(self, vip: str, address: str | None = None) -> Answer[ProbesOut]:
        """Run all checks of the backends of a VIP once, or of the one with this address. No health changes.

        The answer takes as long as the slowest check, at least.
        """
        path = vip_path(vip, "probe") if address is None else backend_path(vip, address, "probe")
        return self._transport.request("POST", path, patience=_PROBES)
