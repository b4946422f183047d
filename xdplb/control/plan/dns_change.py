# SPDX-License-Identifier: Apache-2.0
"""What to change of a DNS name, so that it has the addresses that this node serves. Pure.

Each node answers for its own claims alone, so that no node need know what the others are about. A change is made only
if the name still is what it was found to be; else it is looked at again. So two nodes cannot both take out what each
believes not to be the last address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from xdplb.dns.records import Change, Claim, Found
from xdplb.model.address import IPAddress, address_order
from xdplb.model.dns import DNS_TTL_RANGE

__all__ = ["Standing", "Wanted", "Will", "Wish", "change_of", "standing_of", "standing_words"]


class Will(StrEnum):
    """What this node wants of an address: that it is under the name, that it is not, or, for now, neither."""

    SERVE = "serve"
    GO = "go"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Wish:
    """What this node wants of an address, and for how many seconds resolvers may keep it.

    `reason` says why it does not serve it, as a sentence; "" if it does. `vips` are the keys of the VIPs behind it.
    """

    will: Will
    ttl: int
    reason: str = ""
    vips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this node wants of a name: of each address, and by the key in which file. Without wishes it has none."""

    key_file: str
    wishes: Mapping[IPAddress, Wish]


class Standing(StrEnum):
    """How an address stands under a name, as this node sees it."""

    IN = "in"
    """It is there, and this node has a claim on it."""
    OUT = "out"
    """It is not there."""
    LAST = "last"
    """It is there though this node does not serve it: it is the last one of its family."""
    OTHERS = "others"
    """It is there by the claims of other nodes alone."""
    FOREIGN = "foreign"
    """It is there without a claim: somebody has entered it."""
    ALIAS = "alias"
    """The name is an alias (a CNAME), which can have no addresses."""


def standing_of(found: Found, node: str, address: IPAddress, will: Will) -> Standing:
    """Return how an address stands for `node`, which wants this of it."""
    if found.alias:
        return Standing.ALIAS
    if not found.has(address):
        return Standing.OUT
    nodes = {claim.node for claim in found.claims_on(address)}
    if node in nodes:
        return Standing.LAST if will is Will.GO else Standing.IN
    return Standing.OTHERS if nodes else Standing.FOREIGN


def standing_words(standing: Standing, wish: Wish) -> str:
    """Return why an address stands as it does, as a sentence; "" if it is there by this node, as it should be."""
    if standing is Standing.FOREIGN:
        return "somebody else has entered it, so it is left as it is"
    if standing is Standing.ALIAS:
        return "the name is an alias (CNAME), which can have no addresses: remove it"
    if standing is Standing.LAST:
        return f"{wish.reason}; it stays, since the name has no other address of this family"
    if standing is Standing.OTHERS:
        return f"{wish.reason}; it stays, since other balancers serve it" if wish.reason else "by other balancers"
    return wish.reason


def change_of(found: Found, node: str, wishes: Mapping[IPAddress, Wish]) -> Change:
    """Return the change that makes what was found what `node` wants; nothing, if it is so already.

    An address that has no wish any more was removed by the operator, and goes even if it is the last one. One that does
    not serve stays if it is: a name without an address helps nobody, and what is last may serve again.
    """
    if found.alias:
        return Change(found)
    draft = _Draft(found, node)
    for address, wish in wishes.items():
        if wish.will is Will.SERVE:
            draft.serve(address, wish.ttl)
    for address in _ordered({claim.address for claim in found.claims if claim.node == node} - wishes.keys()):
        draft.release(address, keep_last=False)
    for address in _ordered(address for address, wish in wishes.items() if wish.will is Will.GO):
        draft.release(address, keep_last=True)
    return draft.change()


def _ordered(addresses: Iterable[IPAddress]) -> list[IPAddress]:
    return sorted(addresses, key=address_order)


class _Draft:
    """The name as it would be."""

    def __init__(self, found: Found, node: str) -> None:
        self._found, self._node = found, node
        self._addresses = set(found.v4.those | found.v6.those)
        self._claims = set(found.claims)

    def serve(self, address: IPAddress, ttl: int) -> None:
        """Put an address under the name with a claim, unless somebody has entered it."""
        others = self._claims_on(address)
        if address in self._addresses and not others:
            return
        mine = {claim for claim in others if claim.node == self._node}
        self._addresses.add(address)
        self._claims = self._claims - mine | {Claim.make(self._node, address, ttl)}

    def release(self, address: IPAddress, *, keep_last: bool) -> None:
        """Take back this node's claim, and with the last claim the address."""
        claims = self._claims_on(address)
        mine = {claim for claim in claims if claim.node == self._node}
        if not mine:
            return
        if claims == mine and address in self._addresses:
            is_last = not any(each != address and each.version == address.version for each in self._addresses)
            if keep_last and is_last:
                return
            self._addresses.discard(address)
        self._claims -= mine

    def change(self) -> Change:
        before = self._found.v4.those | self._found.v6.those
        return Change(
            self._found,
            put=frozenset(self._addresses - before),
            removed=frozenset(before - self._addresses),
            ttls=tuple((version, ttl) for version in (4, 6) if (ttl := self._new_ttl(version))),
            claimed=frozenset(self._claims - self._found.claims),
            released=frozenset(self._found.claims - self._claims),
        )

    def _claims_on(self, address: IPAddress) -> set[Claim]:
        return {claim for claim in self._claims if claim.address == address}

    def _new_ttl(self, version: int) -> int:
        """Return the TTL that the addresses of a family are to get; 0 if they stay as they are.

        They all have one TTL (RFC 2181, 5.2): the shortest that a claim asks for, so that nodes which were told
        different ones do not undo each other's. If somebody has entered one of them, theirs is kept.
        """
        had = self._found.of(version)
        now = {address for address in self._addresses if address.version == version}
        if not now:
            return 0
        asked = {claim.address: claim.ttl for claim in sorted(self._claims, key=lambda claim: -claim.ttl)}
        entered = (now & had.those) - asked.keys()
        low, high = DNS_TTL_RANGE
        ttl = had.ttl if entered else min(max(low, min(asked[address] for address in now)), high)
        return ttl if ttl != had.ttl or now - had.those else 0
