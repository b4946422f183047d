"""What can be asked about health checks."""

from __future__ import annotations

from typing import Unpack

from .answer import Answer
from .bodies import HealthCheckIn, HealthCheckOut, ProbesOut
from .paths import backend_path, vip_path
from .transport import How, Transport

__all__ = ["Checks"]

_PART = "health-check"
_PROBES_SECONDS = 120.0


class Checks:
    """The health checks: at most one for each VIP, which is given by its name or key."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, vip: str) -> Answer[HealthCheckOut]:
        """Return the check of a VIP and its results. Raises NotFoundError if it has none."""
        return self._transport.request("GET", vip_path(vip, _PART))

    def put(self, vip: str, check: HealthCheckIn, **how: Unpack[How]) -> Answer[HealthCheckOut]:
        """Set the check of a VIP, in place of the one it has."""
        return self._transport.change("PUT", vip_path(vip, _PART), check, how)

    def delete(self, vip: str, **how: Unpack[How]) -> Answer[None]:
        """Remove the check of a VIP: its backends count as up. Raises NotFoundError if it has none."""
        return self._transport.change("DELETE", vip_path(vip, _PART), None, how)

    def probe(self, vip: str, address: str | None = None) -> Answer[ProbesOut]:
        """Run all checks of the backends of a VIP once, or of the one with this address. No health changes.

        The answer takes as long as the slowest check, at least.
        """
        path = vip_path(vip, "probe") if address is None else backend_path(vip, address, "probe")
        return self._transport.request("POST", path, usual=_PROBES_SECONDS)
