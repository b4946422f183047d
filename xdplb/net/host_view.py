# SPDX-License-Identifier: Apache-2.0
"""What the kernel of one network namespace knows about how to reach a set of addresses, kept current by its events.

Used by one thread. Every method that may change a resolution returns the addresses whose resolution did change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address

from xdplb.model.address import IPAddress, parse_address
from xdplb.model.host import OwnAddress
from xdplb.model.next_hop import ClientWay, Lack, NeighbourEdit, Resolution
from xdplb.model.nic import NicLink

from . import arp
from .client_routes import CommonRoute, common_route
from .doubts import Doubts, Unanswered
from .links import nics_below_vlans
from .resolve import NeighbourKey, Tables, neighbour_key, resolve, why_unreachable
from .rtmessages import (
    AddressInfo,
    Event,
    IPInterface,
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
_MOST_ROUTES = 1024
"""With more of them the kernel is asked for each reply: to read them after each change would take too long."""

_FAR = (parse_address("1.1.1.1"), parse_address("2606:4700:4700::1111"))
"""Hosts that are on no balancer's segment. They are looked up in the routing table and sent nothing."""


class HostView:
    """Links, neighbours, the routes of the watched addresses, and the resolutions that follow from them."""

    def __init__(self, requests: RequestSocket) -> None:
        self._requests = requests
        self._links: dict[int, LinkInfo] = {}
        self._neighbours: dict[NeighbourKey, Neighbour] = {}
        self._routes: dict[IPAddress, Route | Unreachable] = {}
        self._users: dict[NeighbourKey, set[IPAddress]] = {}  # the watched addresses that need this neighbour
        self._refused: dict[NeighbourKey, int] = {}  # the errno of neighbours that the kernel would not solicit
        self._addresses: dict[tuple[int, IPInterface], AddressInfo] = {}
        self._own: tuple[OwnAddress, ...] | None = None  # made from them when asked; None: to be made again
        self._sources: frozenset[IPAddress] = frozenset()  # the kernel's choice towards far hosts
        self._last_link: dict[IPAddress, int] = {}  # the ifindex of the last route, to name a link that is down
        self._gone: dict[int, str] = {}  # the names of links that are gone, to name them as well
        self._solicitations = SolicitSchedule()
        self._doubts = Doubts()
        self._unanswered = Unanswered()
        self._forgotten: set[NeighbourKey] = set()  # what was deleted here, and has not been announced yet
        self._fixed: set[NeighbourKey] = set()  # what was made permanent with another MAC, and told
        self._edited: list[NeighbourEdit] = []
        self._wanted: frozenset[IPAddress] = frozenset()
        self._common: dict[int, CommonRoute] = {}  # by IP version
        self._reads_routes = False
        self.resolutions: dict[IPAddress, Resolution] = {}
        self.avoided: frozenset[IPAddress] = frozenset()
        """Addresses of this host that nobody must be asked from: backends have them too."""
        self.links_changed = 0
        """How often the interfaces have changed, the program on one included."""

    def resync(self) -> set[IPAddress]:
        """Read all tables again: at the start, and after the kernel had to drop events."""
        self._links = {link.ifindex: link for link in self._requests.links()}
        self._addresses.clear()
        self._own = None
        self.links_changed += 1
        for address in self._requests.addresses():
            self._apply_address(address)
        found = self._requests.neighbours()
        for key in self._neighbours.keys() - {(entry.ifindex, entry.address) for entry in found}:
            self._apply_neighbour(Neighbour(*key, NeighbourState.NONE, None), self._neighbours)
        for entry in found:
            self._apply_neighbour(entry, self._neighbours)
        self._look_far()
        return self._look_up(list(self._routes)) | self._read_routes()

    def watch(self, addresses: frozenset[IPAddress]) -> set[IPAddress]:
        """Watch these addresses, and no others any more."""
        self._wanted = addresses
        return self._watch(addresses | {common.probe for common in self._common.values()})

    def watch_clients(self, *, wanted: bool) -> set[IPAddress]:
        """Know the ways to nearly all clients from now on, or no more."""
        self._reads_routes = wanted
        return self._read_routes()

    def client_ways(self) -> dict[int, ClientWay]:
        """Return the ways to nearly all clients that are known, by IP version."""
        ways = {}
        for version, common in self._common.items():
            found, hop = self._routes.get(common.probe), self.resolutions[common.probe].next_hop
            asked = (common.route.ifindex, common.route.gateway)
            if (
                hop is not None
                and isinstance(found, Route)
                and (found.ifindex, found.gateway) == asked
                and not hop.tags
            ):
                ways[version] = ClientWay(hop, common.others)
        return ways

    def _read_routes(self) -> set[IPAddress]:
        """Find out anew which routes most clients have; return the addresses whose resolution has changed."""
        self._common = {}
        if self._reads_routes:
            with closing(RequestSocket()) as requests:
                routes = requests.host_routes(_MOST_ROUTES)
            rules = self._requests.rules()
            found = {version: common_route(version, routes or (), rules) for version in (4, 6)}
            self._common = {version: common for version, common in found.items() if common is not None}
        return self.watch(self._wanted)

    def _watch(self, addresses: frozenset[IPAddress]) -> set[IPAddress]:
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
        if not all(isinstance(event, Neighbour) for event in events):
            self._look_far()
        for event in events:
            if isinstance(event, Neighbour):
                touched |= self._apply_neighbour(event, earlier)
            elif isinstance(event, RouteChange):
                stale_routes |= self._within(event)
            elif self._apply_address(event) if isinstance(event, AddressInfo) else self._apply_link(event):
                stale_routes |= self._routes.keys()
        changed = self._look_up(list(stale_routes)) | self._refresh(touched)
        if self._reads_routes and not all(isinstance(event, Neighbour) for event in events):
            changed |= self._read_routes()
        return changed

    def vlan_nics(self) -> frozenset[str]:
        """Return the names of the NICs that have VLAN devices."""
        return nics_below_vlans(self._links.values())

    def addresses(self) -> tuple[OwnAddress, ...]:
        """Return the addresses of this host that others can reach, in the kernel's order."""
        if self._own is None:
            self._own = self._own_addresses()
        return self._own

    def _own_addresses(self) -> tuple[OwnAddress, ...]:
        chosen = self._sources | {found.source for found in self.resolutions.values() if found.source is not None}
        return tuple(
            OwnAddress(
                address=info.address.ip,
                network=info.address.network,
                interface=link.name,
                is_source=info.address.ip in chosen or (_is_picked(info) and link.name != "lo"),
                is_usable=not (info.tentative or info.duplicate),
            )
            for (ifindex, _), info in self._addresses.items()
            if (link := self._links.get(ifindex)) is not None and not _is_local(info.address.ip)
        )

    def links(self) -> dict[str, NicLink]:
        """Return the interfaces by name."""
        return {link.name: self._nic_link(link) for link in self._links.values()}

    def _nic_link(self, link: LinkInfo) -> NicLink:
        master = self._links.get(link.master)
        return NicLink(
            link.name,
            link.ifindex,
            link.mtu,
            link.up,
            link.carrier,
            link.ethernet,
            link.xdp_id,
            "" if master is None else master.name,
            link.master_kind,
        )

    def doubt(self, now: float, address: IPAddress, *, first: bool) -> None:
        """Have the next `solicit` ask anew for the neighbour that leads to `address`: nothing comes back from there.

        `first` as in `Doubts.add`. A MAC that was configured, or that another program keeps, is not doubted.
        """
        key = neighbour_key(address, self._routes.get(address))
        if key is not None:
            self._doubt(now, key, first=first)

    def solicit(self, now: float) -> tuple[set[IPAddress], float]:
        """Have the kernel ask for the MACs that are due; return what changed and when to call again (as `now`)."""
        due, wake = self._solicitations.due(now, self._users, self._neighbours)
        silent, later = self._unanswered.due(now)
        for key in silent:
            self._doubt(now, key, first=True)
        doubted, more = self._doubts.due(now)
        self._forget(doubted)
        asked = list(dict.fromkeys([*due, *(key for key in doubted if key in self._users)]))
        before, self._refused = self._refused, {key: e for key, e in self._refused.items() if key in self._users}
        for key, error in zip(asked, self._requests.solicit(asked), strict=True):
            self._refused.pop(key, None)
            if error:
                self._refused[key] = error
            elif self.avoided and key[1].version == 4 and self._asks_from(key) in self.avoided:
                self._ask_from_nowhere(*key)
        changed = {key for key in self._users if before.get(key) != self._refused.get(key)}
        return self._refresh({address for key in changed for address in self._users[key]}), min(wake, later, more)

    def _doubt(self, now: float, key: NeighbourKey, *, first: bool) -> None:
        neighbour = self._neighbours.get(key)
        if neighbour is None or not (neighbour.kept or neighbour.state & _FIXED):
            self._doubts.add(now, key, first=first)

    def _forget(self, doubted: Iterable[NeighbourKey]) -> None:
        """Have the kernel forget these MACs: it asks a neighbour whose MAC it knows only at that MAC.

        Packets go on to the MAC known so far, in XDP and for the moment until the answer.
        """
        entries = (self._neighbours.get(key) for key in doubted)
        known = [(entry.ifindex, entry.address) for entry in entries if entry is not None and entry.state & _HAS_MAC]
        self._forgotten.update(known)
        self._requests.forget(known)

    def _asks_from(self, key: NeighbourKey) -> IPAddress | None:
        """Return the sender of the kernel's ARP requests: the first address of a prefix around the other, or of all."""
        ifindex, asked = key
        own = [
            info.address
            for info in self._addresses.values()
            if info.ifindex == ifindex and info.address.version == asked.version and not info.passive
        ]
        near = (one for one in own if asked in one.network)
        found = next(near, own[0] if own else None)
        return None if found is None else found.ip

    def _ask_from_nowhere(self, ifindex: int, asked: IPAddress) -> None:
        link = self._links.get(ifindex)
        if link is not None and link.ethernet and isinstance(asked, IPv4Address):
            with contextlib.suppress(OSError):  # the interface has just gone or is down: its events say so
                arp.ask(link.name, link.mac, asked)

    def _apply_address(self, event: AddressInfo) -> bool:
        """Keep an address, or forget it; return whether routes may have changed."""
        self._own = None
        key = (event.ifindex, event.address)
        if event.gone:
            self._addresses.pop(key, None)
        else:
            self._addresses[key] = event
        return True

    def _apply_link(self, event: LinkInfo | LinkGone) -> bool:
        """Return whether routes may have changed: the kernel does not announce those that it removes with a link."""
        self._own = None
        before = self._links.pop(event.ifindex, None)
        self.links_changed += before != event
        if isinstance(event, LinkGone):
            if before is not None and event.ifindex in self._last_link.values():
                self._gone[event.ifindex] = before.name
            return before is not None
        self._gone.pop(event.ifindex, None)
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
        if key in self._users:
            self._note_edit(key, before, event)
        if event.state & NeighbourState.FAILED:
            event = replace(event, mac=None)
        elif event.mac is None and before is not None:
            event = replace(event, mac=before.mac)
        self._neighbours[key] = event
        if key in self._users:
            self._unanswered.note(key, event.state)
        if event.state == NeighbourState.NONE and key not in self._users:
            del self._neighbours[key]
        return self._users.get(key, set())

    def _note_edit(self, key: NeighbourKey, before: Neighbour | None, event: Neighbour) -> None:
        """Note what another process did to an entry in use: the kernel itself deletes only those that nobody asks for.

        An interface that goes down takes its entries with it.
        """
        link = self._links.get(event.ifindex)
        if before is None or before.mac is None or link is None or not (link.up and link.carrier):
            return
        if event.state == NeighbourState.NONE:
            if key in self._forgotten:
                self._forgotten.discard(key)
            else:
                self._edited.append(NeighbourEdit(event.address, link.name))
        elif event.state & NeighbourState.PERMANENT:
            if not before.state & NeighbourState.PERMANENT and event.mac not in {None, before.mac}:
                self._fixed.add(key)
                self._edited.append(NeighbourEdit(event.address, link.name, fixed=event.mac))
        elif before.state & NeighbourState.PERMANENT:
            self._edited.append(NeighbourEdit(event.address, link.name, freed=True))

    def _note_unused(self, key: NeighbourKey) -> None:
        if key in self._fixed:
            self._fixed.discard(key)
            self._edited.append(NeighbourEdit(key[1], "", freed=True))

    def take_edits(self) -> Sequence[NeighbourEdit]:
        """Return what other processes have done to neighbour entries in use since this was called last."""
        edits, self._edited = self._edited, []
        return edits

    def _within(self, change: RouteChange) -> AbstractSet[IPAddress]:
        if change.network is None:
            return self._routes.keys()
        return {address for address in self._routes if address in change.network}

    def _look_up(self, addresses: Sequence[IPAddress]) -> set[IPAddress]:
        for address, route in zip(addresses, self._requests.routes(addresses), strict=True):
            self._set_route(address, route)
        return self._refresh(addresses)

    def _look_far(self) -> None:
        """Ask where the host's connections to far hosts leave from: a route may name any of its addresses."""
        found = self._requests.routes(_FAR)
        sources = frozenset(route.source for route in found if isinstance(route, Route) and route.source is not None)
        if sources != self._sources:
            self._sources, self._own = sources, None

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
                    self._note_unused(before)
            if after is not None:
                self._users.setdefault(after, set()).add(address)

    def _refresh(self, addresses: Iterable[IPAddress]) -> set[IPAddress]:
        changed: set[IPAddress] = set()
        for address in addresses:
            resolution, known = self._resolve(address), self.resolutions.get(address)
            if known is None or (known, known.source) != (resolution, resolution.source):
                self.resolutions[address] = resolution
                changed.add(address)
        if changed:
            self._own = None
        return changed

    def _resolve(self, address: IPAddress) -> Resolution:
        route = self._routes.get(address)
        if isinstance(route, Unreachable):
            ifindex = self._last_link.get(address, 0)
            reason = why_unreachable(address, route, self._links.get(ifindex))
            return Resolution(None, reason + self._why_gone(self._gone.get(ifindex)), lacks=Lack.ROUTE)
        unready = [info for info in self._addresses.values() if info.tentative or info.duplicate]
        tables = Tables(self._links, self._neighbours, self._refused, unready)
        return resolve(address, route, tables)

    def _why_gone(self, name: str | None) -> str:
        """Return a clause about the interface of the last route if it is gone; another may have its name by now."""
        if name is None:
            return ""
        if any(link.name == name for link in self._links.values()):
            return f", since {name} was made anew: it needs its addresses and routes again"
        return f", since {name} is gone"


def _is_local(address: IPAddress) -> bool:
    return address.is_loopback or address.is_link_local


def _is_picked(info: AddressInfo) -> bool:
    """Return whether the kernel may choose it as a source without a route that names it."""
    is_single = info.address.version == 4 and info.address.network.prefixlen == info.address.max_prefixlen
    return not info.passive and not is_single
