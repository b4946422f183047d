# SPDX-License-Identifier: Apache-2.0
"""What this host sends itself, beside the VIPs: where checks and tunnels leave from, and which VIPs are in the way."""

from __future__ import annotations

from collections.abc import Sequence

from xdplb.control.events import DriftKind, Events, VipInTheWay
from xdplb.control.plan.host_concerns import host_concerns
from xdplb.control.plan.impact import Warned
from xdplb.control.plan.sentences import warning_sentence
from xdplb.control.plan.sources import ANY_SOURCE, NO_SOURCES, Source, Sources
from xdplb.control.state.desired import Desired
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.drifts import Drifts
from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.host import NO_HOST, Host, OwnAddress
from xdplb.net.next_hops import NextHopSource

__all__ = ["HostWatch"]


class HostWatch:
    """Compares the host's own addresses with the VIPs, whichever of the two changes."""

    def __init__(
        self, next_hops: NextHopSource, events: Events, drifts: Drifts, tunnel_sources: tuple[IPNetwork, ...]
    ) -> None:
        self._next_hops, self._events, self._drifts = next_hops, events, drifts
        self.tunnel_sources = tunnel_sources
        """The prefixes that outer sources are taken from, empty for the host's own addresses."""
        self._own_addresses: tuple[OwnAddress, ...] = ()
        self._concerns: frozenset[Warned] = frozenset()
        self._made: tuple[object, Host, Sources] = (None, NO_HOST, NO_SOURCES)

    def look(self, desired: Desired) -> bool:
        """Say which VIPs are newly in the way of what the host sends; return whether its addresses have changed."""
        before, self._own_addresses = self._own_addresses, self._next_hops.host().addresses
        if self._own_addresses != before:
            self._say_gone(before, desired)
        self._next_hops.avoid(frozenset(self.sources(desired).over))
        concerns = frozenset(self.concerns(desired))
        for warned in sorted(concerns - self._concerns, key=lambda warned: (warned.vip, warned.detail)):
            self._events.say(VipInTheWay(str(warned.vip), warning_sentence(warned)))
        self._concerns = concerns
        return self._own_addresses != before

    def _say_gone(self, before: Sequence[OwnAddress], desired: Desired) -> None:
        """Tell of addresses that were removed and mattered. Those of a NIC that is gone went with it."""
        there, links = {own.address for own in self._own_addresses}, self._next_hops.links()
        for own in before:
            link = links.get(own.interface)
            if own.address in there or link is None or not link.up:
                continue
            if (vip := next(desired.places.vips_of(own.address), None)) is not None:
                why = f"the address of VIP {vip} was removed from {own.interface}"
                why += ": its packets come only if a router or another host sends them here"
            elif own.is_source:
                why = f"{own.address} was removed from {own.interface}: checks and tunnels leave from another address,"
                why += " if there is one"
            else:
                continue
            self._drifts.noted(DriftKind.ADDRESS, str(own.address), why, repaired=False)

    def sources(self, desired: Desired) -> Sources:
        """Return where packets of this host's own leave from, while it balances these VIPs."""
        host = self._next_hops.host()
        made_for, known, sources = self._made
        if made_for is not desired or known != host:
            sources = Sources.of(host, desired)
            self._made = desired, host, sources
        return sources

    def check_source(self, desired: Desired, backend: IPAddress) -> Source:
        """Return where a check of this backend must leave from now."""
        sources = self.sources(desired)
        return sources.of_check(backend, self._next_hops.lookup(backend)) if sources.over else ANY_SOURCE

    def concerns(self, desired: Desired) -> list[Warned]:
        """Return which of these VIPs are in the way of what this host sends itself."""
        sources = self.sources(desired)
        # Only VIPs over an own address can be in the way of it; there may be thousands of others.
        keys = desired.vips if self.tunnel_sources else {key: None for keys in sources.over.values() for key in keys}
        return list(host_concerns(keys, sources, self.tunnel_sources))

    def sends_otherwise(self, before: Snapshot, after: Snapshot) -> bool:
        """Return whether a change touches VIPs over own addresses: all may then have to be sent to from elsewhere."""
        over = [key for each in (before, after) for keys in self.sources(each.desired).over.values() for key in keys]
        return any(before.vips.get(key) is not after.vips.get(key) for key in over)
