"""What the kernel of one network namespace knows about how to reach a set of addresses, kept current by its events.

Used by one thread. Every method that may change a resolution returns the addresses whose resolution did change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from xdplb.model.address import IPAddress
from xdplb.model.next_hop import Resolution

from .doubts import Doubts
from .links import nics_below_vlans
from .resolve import NeighbourKey, Tables, neighbour_key, resolve, why_unreachable
from .rtmessages import (
    AddressInfo,
    Event,
    LinkGone,
    LinkInfo,
    Neighbour,
    NeighbourState,
    Route,
    RouteChange,
    Unreachable,
)
from .rtnetlink import RequestSocket
from .solicit import SolicitSchedule

__all__ = ["HostView"]

_FIXED = NeighbourState.PERMANENT | NeighbourState.NOARP
_HAS_MAC = NeighbourState.REACHABLE | NeighbourState.STALE | NeighbourState.DELAY | NeighbourState.PROBE


class HostView:
    """Links, neighbours, the routes of the watched addresses, and the resolutions that follow from them."""

    def __init__(self, requests: RequestSocket) -> None:
        self._requests = requests
        self._links: dict[int, LinkInfo] = {}
        self._neighbours: dict[NeighbourKey, Neighbour] = {}
        self._routes: dict[IPAddress, Route | Unreachable] = {}
        self._users: dict[NeighbourKey, set[IPAddress]] = {}  # the watched addresses that need this neighbour
        self._refused: dict[NeighbourKey, int] = {}  # the errno of neighbours that the kernel would not solicit
        self._unready: dict[tuple[int, IPAddress], AddressInfo] = {}  # tentative or duplicate addresses of this host
        self._last_link: dict[IPAddress, int] = {}  # the ifindex of the last route, to name a link that is down
        self._solicitations = SolicitSchedule()
        self._doubts = Doubts()
        self.resolutions: dict[IPAddress, Resolution] = {}

    def resync(self) -> set[IPAddress]:
        """Read all tables again: at the start, and after the kernel had to drop events."""
        self._links = {link.ifindex: link for link in self._requests.links()}
        self._unready.clear()
        for address in self._requests.addresses():
            self._apply_address(address)
        found = self._requests.neighbours()
        for key in self._neighbours.keys() - {(entry.ifindex, entry.address) for entry in found}:
            self._apply_neighbour(Neighbour(*key, NeighbourState.NONE, None), self._neighbours)
        for entry in found:
            self._apply_neighbour(entry, self._neighbours)
        return self._look_up(list(self._routes))

    def watch(self, addresses: frozenset[IPAddress]) -> set[IPAddress]:
        """Watch these addresses, and no others any more."""
        for address in self._routes.keys() - addresses:
            self._set_route(address, None)
            del self._routes[address]
            self._last_link.pop(address, None)
            self.resolutions.pop(address, None)
        return self._look_up(list(addresses - self._routes.keys()))

    def apply(self, events: Sequence[Event]) -> set[IPAddress]:
        """Apply events of the kernel, in their order."""
        stale_routes: set[IPAddress] = set()
        touched: set[IPAddress] = set()
        earlier = dict(self._neighbours)  # before the batch: see `_apply_neighbour`
        for event in events:
            if isinstance(event, Neighbour):
                touched |= self._apply_neighbour(event, earlier)
            elif isinstance(event, RouteChange):
                stale_routes |= self._within(event)
            elif self._apply_address(event) if isinstance(event, AddressInfo) else self._apply_link(event):
                stale_routes |= self._routes.keys()
        return self._look_up(list(stale_routes)) | self._refresh(touched)

    def vlan_nics(self) -> frozenset[str]:
        """Return the names of the NICs that have VLAN devices."""
        return nics_below_vlans(self._links.values())

    def doubt(self, now: float, address: IPAddress, *, first: bool) -> None:
        """Have the next `solicit` ask anew for the neighbour that leads to `address`: nothing comes back from there.

        `first` as in `Doubts.add`. A MAC that was configured, or that another program keeps, is not doubted.
        """
        key = neighbour_key(address, self._routes.get(address))
        neighbour = None if key is None else self._neighbours.get(key)
        if key is not None and (neighbour is None or not (neighbour.kept or neighbour.state & _FIXED)):
            self._doubts.add(now, key, first=first)

    def solicit(self, now: float) -> tuple[set[IPAddress], float]:
        """Have the kernel ask for the MACs that are due; return what changed and when to call again (as `now`)."""
        due, wake = self._solicitations.due(now, self._users, self._neighbours)
        doubted, more = self._doubts.due(now)
        self._forget(doubted)
        asked = list(dict.fromkeys([*due, *(key for key in doubted if key in self._users)]))
        before, self._refused = self._refused, {key: e for key, e in self._refused.items() if key in self._users}
        for key, error in zip(asked, self._requests.solicit(asked), strict=True):
            self._refused.pop(key, None)
            if error:
                self._refused[key] = error
        changed = {key for key in self._users if before.get(key) != self._refused.get(key)}
        return self._refresh({address for key in changed for address in self._users[key]}), min(wake, more)

    def _forget(self, doubted: Iterable[NeighbourKey]) -> None:
        """Have the kernel forget these MACs: it asks a neighbour whose MAC it knows only at that MAC.

        Packets go on to the MAC known so far, in XDP and for the moment until the answer.
        """
        entries = (self._neighbours.get(key) for key in doubted)
        known = [(entry.ifindex, entry.address) for entry in entries if entry is not None and entry.state & _HAS_MAC]
        self._requests.forget(known)

    def _apply_address(self, event: AddressInfo) -> bool:
        """Keep an address that is not usable yet, to name it as a reason; return whether routes may have changed."""
        key = (event.ifindex, event.address.ip)
        self._unready.pop(key, None)
        if (event.tentative or event.duplicate) and not event.gone:
            self._unready[key] = event
        return True

    def _apply_link(self, event: LinkInfo | LinkGone) -> bool:
        """Return whether routes may have changed: the kernel does not announce those that it removes with a link."""
        before = self._links.pop(event.ifindex, None)
        if isinstance(event, LinkGone):
            return before is not None
        self._links[event.ifindex] = event
        # No route depends on the XDP program, and attaching ours is such an event.
        return before is None or replace(before, xdp_id=0, xdp_mode=None) != replace(event, xdp_id=0, xdp_mode=None)

    def _apply_neighbour(self, event: Neighbour, earlier: Mapping[NeighbourKey, Neighbour]) -> set[IPAddress]:
        """Keep the last MAC of an entry that the kernel deletes or asks for again, until that fails.

        `earlier` is the table before this batch of events. A deleted entry gets its MAC from there: the kernel
        announces it as FAILED just before it announces the deletion, and that must not lose the MAC.
        """
        key = (event.ifindex, event.address)
        before = earlier.get(key) if event.state == NeighbourState.NONE else self._neighbours.get(key)
        if event.state & NeighbourState.FAILED:
            event = replace(event, mac=None)
        elif event.mac is None and before is not None:
            event = replace(event, mac=before.mac)
        self._neighbours[key] = event
        if event.state == NeighbourState.NONE and key not in self._users:
            del self._neighbours[key]
        return self._users.get(key, set())

    def _within(self, change: RouteChange) -> AbstractSet[IPAddress]:
        if change.network is None:
            return self._routes.keys()
        return {address for address in self._routes if address in change.network}

    def _look_up(self, addresses: Sequence[IPAddress]) -> set[IPAddress]:
        for address, route in zip(addresses, self._requests.routes(addresses), strict=True):
            self._set_route(address, route)
        return self._refresh(addresses)

    def _set_route(self, address: IPAddress, route: Route | Unreachable | None) -> None:
        """Set the route to `address` and note which neighbour entry it uses now."""
        before, after = neighbour_key(address, self._routes.get(address)), neighbour_key(address, route)
        if route is not None:
            self._routes[address] = route
        if isinstance(route, Route):
            self._last_link[address] = route.ifindex
        if before != after:
            if before is not None:
                self._users[before].discard(address)
                if not self._users[before]:
                    del self._users[before]
            if after is not None:
                self._users.setdefault(after, set()).add(address)

    def _refresh(self, addresses: Iterable[IPAddress]) -> set[IPAddress]:
        changed: set[IPAddress] = set()
        for address in addresses:
            resolution = self._resolve(address)
            if self.resolutions.get(address) != resolution:
                self.resolutions[address] = resolution
                changed.add(address)
        return changed

    def _resolve(self, address: IPAddress) -> Resolution:
        route = self._routes.get(address)
        if isinstance(route, Unreachable):
            link = self._links.get(self._last_link.get(address, 0))
            return Resolution(None, why_unreachable(address, route, link))
        tables = Tables(self._links, self._neighbours, self._refused, self._unready.values())
        return resolve(address, route, tables)
