# SPDX-License-Identifier: Apache-2.0
"""Which routes announce the VIPs: what should be, what differs from what is, and when a route may come back. Pure.

VIPs with the same address and other ports share a route. It stands while each of them that asks for it is well: a node
that cannot serve one of them leaves that address to other nodes. A VIP that shall not count says `never`, and one that
says `always` keeps the route whatever becomes of the others.

A VIP that fails open, although enough of its backends are healthy, is announced as by a node that drains: routers
prefer nodes that see more of them healthy, and if all nodes see the same, clients still reach those that are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from xdplb.model.address import IPNetwork
from xdplb.model.announcing import DRAIN_METRIC, AnnouncedRoute
from xdplb.model.node import NodeState
from xdplb.model.vip import Announce

__all__ = ["Difference", "Offer", "Returning", "Verdict", "Wish", "difference", "metric_of", "verdict_of"]

_NORMAL_METRIC = {4: 0, 6: 1024}
"""The kernel's own: an IPv6 route without a metric gets 1024."""

_REMEMBERED_SECONDS = 600.0
_LONGEST_DELAY_SECONDS = 60.0
_TOLD = 3
"""How many of the VIPs of an address a reason tells of."""


class Offer(IntEnum):
    """What a route tells routers: nothing, since it is not there; to come here if no other node will do; to come."""

    NOTHING = 0
    LAST_RESORT = 1
    FULL = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """What a VIP asks for. `ailing`: why it is not well; `strained`: why other nodes may be better; empty if not."""

    vip: str
    announce: Announce
    ailing: str = ""
    strained: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a route should offer; `reason` says why no more than that."""

    offer: Offer
    reason: str = ""


def verdict_of(wishes: Collection[Wish]) -> Verdict:
    """Return what the route of an address should offer, by what its VIPs ask for."""
    asking = [wish for wish in wishes if wish.announce is not Announce.NEVER]
    if not asking:
        return Verdict(Offer.NOTHING, "no VIP asks for it")
    if any(wish.announce is Announce.ALWAYS for wish in asking):
        return Verdict(Offer.FULL)
    if ailing := [wish.ailing for wish in asking if wish.ailing]:
        return Verdict(Offer.NOTHING, "; ".join(ailing[:_TOLD]))
    if strained := [wish.strained for wish in asking if wish.strained]:
        return Verdict(Offer.LAST_RESORT, "; ".join(strained[:_TOLD]))
    return Verdict(Offer.FULL)


def metric_of(network: IPNetwork, state: NodeState, offer: Offer) -> int | None:
    """Return the metric of a route with this offer on a node in this state; None: there is no route."""
    if state is NodeState.DRAINED or offer is Offer.NOTHING:
        return None
    is_last_resort = state is NodeState.DRAINING or offer is Offer.LAST_RESORT
    return DRAIN_METRIC if is_last_resort else _NORMAL_METRIC[network.version]


@dataclass(frozen=True, slots=True)
class Difference:
    """What to do to the table: first `add`, then `remove`, so that a new metric never takes a route away.

    `blocked` are the networks for which another program has a route of the wanted metric there.
    """

    add: tuple[AnnouncedRoute, ...] = ()
    remove: tuple[AnnouncedRoute, ...] = ()
    blocked: frozenset[IPNetwork] = frozenset()


def difference(wanted: Mapping[IPNetwork, int], present: Collection[AnnouncedRoute]) -> Difference:
    """Return how to get from the routes in the table to the wanted ones, by network and metric. Others' stay."""
    ours = {(route.network, route.metric) for route in present if route.ours}
    others = {(route.network, route.metric) for route in present if not route.ours}
    missing = wanted.items() - ours
    return Difference(
        add=_routes(missing - others),
        remove=_routes(ours - wanted.items()),
        blocked=frozenset(network for network, _ in missing & others),
    )


def _routes(pairs: Collection[tuple[IPNetwork, int]]) -> tuple[AnnouncedRoute, ...]:
    routes = (AnnouncedRoute(network, metric) for network, metric in pairs)
    return tuple(sorted(routes, key=lambda route: (route.network.version, route.network, route.metric)))


@dataclass(slots=True)
class Returning:
    """When the route of an address may come back after it was withdrawn. Times are of a monotonic clock, in seconds.

    The first time, it must be well for `delay_seconds`; twice as long for each time more in the last ten minutes, a
    minute at most. What a router learns and forgets again and again, it may dampen for much longer.
    """

    delay_seconds: float
    _withdrawn: deque[float] = field(default_factory=deque)
    _well_since: float | None = None

    def withdrawn(self, now: float) -> None:
        """Note that it was withdrawn, since something is not well."""
        self._withdrawn.append(now)
        self._well_since = None

    def waits(self, now: float, *, is_well: bool) -> float:
        """Return for how many seconds it must still be well before it may come back; 0 if it may now."""
        while self._withdrawn and self._withdrawn[0] < now - _REMEMBERED_SECONDS:
            self._withdrawn.popleft()
        if not is_well:
            self._well_since = None
        elif self._well_since is None:
            self._well_since = now
        times = len(self._withdrawn)
        if not times or self._well_since is None:
            return 0.0
        delay = min(self.delay_seconds * 2.0 ** (times - 1), max(self.delay_seconds, _LONGEST_DELAY_SECONDS))
        return max(0.0, self._well_since + delay - now)
