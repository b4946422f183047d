# SPDX-License-Identifier: Apache-2.0
"""What is known of the paths to backends in tunnels: the one place that holds it. Pure; times are given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from xdplb.control.paths.tunnel import Tunnel
from xdplb.dataplane.plane import BackendEntry
from xdplb.model.address import IPAddress
from xdplb.net.icmp_message import ErrorKind, IcmpError

__all__ = ["PATH_MTU_TIME", "LoweredMtu", "PathBook"]

PATH_MTU_TIME = timedelta(minutes=10)
"""How long a path's MTU is believed (RFC 1191, section 6.3; RFC 8201, section 5.3). Then the link's is tried again."""

_TROUBLE_TIME = timedelta(minutes=1)
"""How long an error is a reason after the last one. Routers send at least one a second while packets go on."""


@dataclass(frozen=True, slots=True)
class LoweredMtu:
    """The MTU of the path to an address, outer header included, as `router` told it; None: told before this start.

    `until` is when the link's MTU is tried again, UTC.
    """

    mtu: int
    router: IPAddress | None
    until: datetime


@dataclass(frozen=True, slots=True)
class _Trouble:
    error: IcmpError
    at: datetime

    def is_recent(self, now: datetime) -> bool:
        return now - self.at < _TROUBLE_TIME


class PathBook:
    """MTUs by the backend's address, errors by tunnel: what one VIP's packets meet holds for those of all others.

    Used in the event loop, except for `mtus` and `lowered`, which are replaced as a whole and never changed in place,
    and for `all_counts`, `counts` and `recent`, which may be asked in any thread.
    """

    def __init__(self) -> None:
        self.lowered: Mapping[IPAddress, LoweredMtu] = {}
        self.mtus: Mapping[IPAddress, int] = {}
        """What the path to each of these addresses takes, in bytes; the others take what the link does."""
        self._counts: dict[Tunnel, dict[ErrorKind, int]] = defaultdict(lambda: dict.fromkeys(ErrorKind, 0))
        self._troubles: dict[Tunnel, dict[ErrorKind, _Trouble]] = defaultdict(dict)

    def adopt(self, entries: Iterable[BackendEntry], now: datetime) -> None:
        """Believe the MTUs in the maps as if they had been told now: a restart must not forget what was learnt."""
        found: dict[IPAddress, LoweredMtu] = {}
        for entry in entries:
            if entry.next_hop is None or not entry.forward.is_tunnel:
                continue
            before = found.get(entry.address)
            if before is None or entry.next_hop.mtu < before.mtu:
                found[entry.address] = LoweredMtu(entry.next_hop.mtu, None, now + PATH_MTU_TIME)
        self._set(found)

    def keep_lower_than(self, links: Mapping[IPAddress, int]) -> None:
        """Forget MTUs that are no lower than those of these links."""
        self._set({key: one for key, one in self.lowered.items() if one.mtu < links.get(key, one.mtu + 1)})

    def lower(self, address: IPAddress, mtu: int, router: IPAddress, now: datetime) -> bool:
        """Lower the MTU of the path to an address; return whether that changed anything. It is never raised."""
        before = self.lowered.get(address)
        if before is not None and before.mtu <= mtu:
            return False
        self._set({**self.lowered, address: LoweredMtu(mtu, router, now + PATH_MTU_TIME)})
        return True

    def expire(self, now: datetime) -> frozenset[IPAddress]:
        """Forget the MTUs whose time is over, and return the addresses."""
        over = frozenset(key for key, one in self.lowered.items() if one.until <= now)
        if over:
            self._set({key: one for key, one in self.lowered.items() if key not in over})
        return over

    def count(self, tunnel: Tunnel, error: IcmpError, now: datetime) -> bool:
        """Count an error; return whether it is news: none of its kind and code came in a while."""
        self._counts[tunnel][error.kind] += 1
        before = self._troubles[tunnel].get(error.kind)
        self._troubles[tunnel][error.kind] = _Trouble(error, now)
        return before is None or not before.is_recent(now) or before.error.code != error.code

    def all_counts(self) -> dict[Tunnel, dict[ErrorKind, int]]:
        """Return how many errors of each kind came, by tunnel, without those about which none did."""
        return {tunnel: dict(counts) for tunnel, counts in list(self._counts.items())}

    def counts(self, tunnel: Tunnel) -> Mapping[ErrorKind, int]:
        """Return how many errors of each kind came about this tunnel's packets; empty if none did."""
        return dict(self._counts.get(tunnel, {}))

    def recent(self, tunnel: Tunnel, now: datetime) -> list[IcmpError]:
        """Return the last error of each kind about this tunnel, if it is not a while ago; the newest first."""
        troubles = [each for each in list(self._troubles.get(tunnel, {}).values()) if each.is_recent(now)]
        return [each.error for each in sorted(troubles, key=lambda each: each.at, reverse=True)]

    def keep(self, addresses: AbstractSet[IPAddress]) -> None:
        """Forget everything about other addresses: a backend that is removed and added again starts anew."""
        if not self.lowered.keys() <= addresses:
            self._set({key: one for key, one in self.lowered.items() if key in addresses})
        for gone in [tunnel for tunnel in self._counts if tunnel.address not in addresses]:
            del self._counts[gone]
            self._troubles.pop(gone, None)

    def _set(self, lowered: Mapping[IPAddress, LoweredMtu]) -> None:
        self.lowered = lowered
        self.mtus = {key: one.mtu for key, one in lowered.items()}
