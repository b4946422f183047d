# SPDX-License-Identifier: Apache-2.0
"""Tells what was changed in DNS, and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from xdplb.control.events import DnsKeptLast, DnsNotOurs, DnsPublished, DnsReleased, DnsWithdrawn, Say
from xdplb.control.plan.dns_change import Standing, Wish
from xdplb.dns.records import Change, Place
from xdplb.model.address import IPAddress, address_order

__all__ = ["tell_change", "tell_standing"]

_NO_VIP = "no VIP has it under this name any more"


def tell_change(
    say: Say,
    place: Place,
    node: str,
    change: Change,
    wishes: Mapping[IPAddress, Wish],
    *,
    before: Mapping[IPAddress, Wish] = MappingProxyType({}),
) -> None:
    """Tell of a change that was made for `node`; `before` has also the wishes that are no more."""
    found, server = change.found, place.server_text
    claimed = {claim.address: claim.ttl for claim in change.claimed if claim.node == node}
    for address in sorted(claimed.keys() | {claim.address for claim in change.released}, key=address_order):
        wish = wishes.get(address) or before.get(address)
        vips = () if wish is None else wish.vips
        reason = wishes[address].reason if address in wishes else _NO_VIP
        others = ", ".join(sorted({claim.node for claim in found.claims_on(address)} - {node}))
        if address in claimed:
            was_ours = any(claim.node == node for claim in found.claims_on(address))
            if not was_ours or address in change.put:
                say(DnsPublished(place.name, str(address), vips, server, claimed[address], others or None))
        elif address in change.removed:
            ttl = found.of(address.version).ttl
            say(DnsWithdrawn(place.name, str(address), vips, server, ttl, reason))
        elif others:
            say(DnsReleased(place.name, str(address), vips, server, others, reason))


def tell_standing(say: Say, place: Place, address: IPAddress, standing: Standing, wish: Wish) -> None:
    """Tell that an address came to stand like this, if nothing else tells it."""
    if standing is Standing.LAST:
        say(DnsKeptLast(place.name, str(address), wish.vips, place.server_text, wish.reason))
    elif standing is Standing.FOREIGN:
        say(DnsNotOurs(place.name, str(address), wish.vips, place.server_text))
