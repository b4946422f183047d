# SPDX-License-Identifier: Apache-2.0
"""What a DNS name has, as values: its addresses, and the claims of balancers on them. No I/O.

A claim is a TXT record beside the name, at `_xdplb.NAME`, as ExternalDNS's registry has them: it says which node put an
address under the name. An address without a claim is somebody else's, and is never touched. An address that several
nodes serve has a claim of each, and goes with the last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from xdplb.model.address import IPAddress, parse_address
from xdplb.model.errors import InvalidError

__all__ = ["CLAIM_LABEL", "CLAIM_TTL", "Addresses", "Change", "Claim", "Found", "Place"]

CLAIM_LABEL = "_xdplb"
"""The label before the name at which the claims are."""
CLAIM_TTL = 60
"""Seconds. Only balancers read claims, and these ask the server itself."""

_CLAIM = re.compile(
    r'"heritage=xdplb,xdplb/node=([a-z0-9._-]{1,63}),xdplb/address=([0-9a-f.:]{2,45}),xdplb/ttl=(\d{1,6})[",]'
)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A name, its zone, and the server by which it is changed: the address and port of the zone's primary."""

    server: str
    port: int
    zone: str
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def claims_name(self) -> str:
        """The name of the claims."""
        return f"{CLAIM_LABEL}.{self.name}"

    @property
    def server_text(self) -> str:
        """The server as people write it."""
        host = f"[{self.server}]" if ":" in self.server else self.server
        return host if self.port == 53 else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Claim:
    """That `node` serves `address` under the name, and wants clients to keep it for `ttl` seconds.

    `text` is the record as it is in the zone; one of a newer version may say more.
    """

    node: str
    address: IPAddress
    ttl: int
    text: str

    @classmethod
    def make(cls, node: str, address: IPAddress, ttl: int) -> Self:
        """Return a new claim."""
        text = f'"heritage=xdplb,xdplb/node={node},xdplb/address={address},xdplb/ttl={ttl}"'
        return cls(node, address, ttl, text)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the claim that a TXT record makes, in presentation form; None if it is no claim of xdplb's."""
        if (match := _CLAIM.match(text)) is None:
            return None
        try:
            address = parse_address(match[2])
        except InvalidError:
            return None
        return cls(match[1], address, int(match[3]), text)


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of one family under a name, and for how many seconds resolvers keep them; 0 if there are none."""

    those: frozenset[IPAddress] = frozenset()
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a name has: addresses of both families, the claims, and all TXT records beside them as texts.

    `alias` is where a CNAME sends the name, "" without one.
    """

    v4: Addresses = Addresses()
    v6: Addresses = Addresses()
    texts: frozenset[str] = frozenset()
    alias: str = ""
    claims: frozenset[Claim] = field(init=False)

    def __post_init__(self) -> None:
        claims = frozenset(claim for claim in map(Claim.parse, self.texts) if claim is not None)
        object.__setattr__(self, "claims", claims)

    def of(self, version: int) -> Addresses:
        """Return the addresses of a family, 4 or 6."""
        return self.v4 if version == 4 else self.v6

    def has(self, address: IPAddress) -> bool:
        """Return whether this address is under the name."""
        return address in self.of(address.version).those

    def claims_on(self, address: IPAddress) -> Iterable[Claim]:
        """Yield the claims on an address."""
        return (claim for claim in self.claims if claim.address == address)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what `found` was, made as a whole or, if that is so no more, not at all.

    `ttls` are the TTLs that the addresses of a family get, 4 or 6; of a family that is not in it, nothing changes.
    """

    found: Found
    put: frozenset[IPAddress] = frozenset()
    removed: frozenset[IPAddress] = frozenset()
    ttls: tuple[tuple[int, int], ...] = ()
    claimed: frozenset[Claim] = frozenset()
    released: frozenset[Claim] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.put or self.removed or self.ttls or self.claimed or self.released)
