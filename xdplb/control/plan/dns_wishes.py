# SPDX-License-Identifier: Apache-2.0
"""What this node wants of DNS names, from how its VIPs stand. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xdplb.control.plan.dns_change import Wanted, Will, Wish
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.operating import OperatingStatus, VipStanding
from xdplb.control.plan.policies import Traits
from xdplb.dns.records import Place
from xdplb.model.address import IPAddress
from xdplb.model.dns import server_of
from xdplb.model.vip import Vip

__all__ = ["place_of", "wanted_of", "wish_of"]


def place_of(vip: Vip) -> Place | None:
    """Return where a VIP is to be found in DNS; None if it is not."""
    if vip.dns is None:
        return None
    address, port = server_of(vip.dns.server)
    return Place(str(address), port, vip.dns.zone, vip.dns.name)


def wish_of(draft: VipDraft, standing: VipStanding, why_not: str) -> Wish:
    """Return what is wanted of a VIP's address; `why_not` is why this host serves nothing at all, "" if it may."""
    vip = draft.vip.vip
    assert vip.dns is not None
    will, reason = _will_of(draft, standing)
    if why_not:
        will, reason = Will.GO, why_not
    return Wish(will, vip.dns.ttl, reason, (str(vip.key),))


def _will_of(draft: VipDraft, standing: VipStanding) -> tuple[Will, str]:
    if standing.status is OperatingStatus.FAILING_OPEN:
        return Will.GO, "the VIP fails open: backends that are not healthy get connections"
    if standing.min_serving_met:
        return Will.SERVE, ""
    if standing.status is OperatingStatus.NO_BACKEND:
        return Will.GO, "the VIP has no backend"
    waiting = draft.tally.count(Traits.WAITS, Traits.BACKUP)
    if waiting and standing.serving + waiting >= standing.needed:
        return Will.WAIT, "checks of its backends have had no result yet"
    verb = "serves" if standing.serving == 1 else "serve"
    return Will.GO, f"{standing.serving} of {len(draft.backends)} backends {verb}, and {standing.needed} must"


def wanted_of(vips: Iterable[tuple[Vip, Wish]]) -> Wanted:
    """Return what is wanted of a name that these VIPs have, each with what is wanted of it.

    An address with several of them, at other ports, is there while all of them serve: the name has no ports.
    """
    files: set[str] = set()
    by_address: dict[IPAddress, list[Wish]] = {}
    for vip, wish in vips:
        assert vip.dns is not None
        files.add(vip.dns.key_file)
        by_address.setdefault(vip.key.address, []).append(wish)
    return Wanted(min(files, default=""), {address: _joint(wishes) for address, wishes in by_address.items()})


def _joint(wishes: Collection[Wish]) -> Wish:
    deciding = next(wish for will in (Will.GO, Will.WAIT, Will.SERVE) for wish in wishes if wish.will is will)
    vips = tuple(sorted(vip for wish in wishes for vip in wish.vips))
    reason = deciding.reason
    if reason and len(wishes) > 1:
        reason = f"{deciding.vips[0]}: {reason}"
    return Wish(deciding.will, min(wish.ttl for wish in wishes), reason, vips)
