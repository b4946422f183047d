# SPDX-License-Identifier: Apache-2.0
"""Names in DNS: those of VIPs in requests and responses, and the list of all of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from xdplb.control.answers.views import DnsAddressView, DnsNameView, DnsView
from xdplb.control.plan.dns_change import Standing
from xdplb.control.writing.dns_keeper import Forgotten
from xdplb.model.check_fields import FILE_PATTERN
from xdplb.model.dns import DNS_TTL_RANGE, DNS_TTL_SECONDS, DOMAIN_MOST, DOMAIN_PATTERN

from .base import RequestBody, ResponseBody

__all__ = [
    "DnsAddressOut",
    "DnsForgottenOut",
    "DnsIn",
    "DnsListOut",
    "DnsNameOut",
    "DnsOut",
    "DnsPatch",
    "DnsStatusOut",
    "ForgottenOut",
]

Domain = Annotated[str, Field(pattern=DOMAIN_PATTERN, max_length=DOMAIN_MOST)]
DnsServer = Annotated[str, Field(min_length=1, max_length=60)]
KeyFile = Annotated[str, Field(pattern=FILE_PATTERN, max_length=4096)]
Ttl = Annotated[int, Field(ge=DNS_TTL_RANGE[0], le=DNS_TTL_RANGE[1])]

DNS_NAME = "The name, in the zone."
DNS_ZONE = "The zone that is updated."
DNS_SERVER = "The zone's primary server: an address, with `:PORT` if that is not 53; IPv6 in brackets then."
DNS_KEY_FILE = "The path of a file on each balancer with the TSIG key that signs updates, in BIND's form."
DNS_TTL = "How long resolvers keep the address, in seconds."


class DnsIn(RequestBody):
    """A name in the DNS for the VIP's address, by updates (RFC 2136) signed with a TSIG key."""

    name: Domain = Field(description=DNS_NAME, examples=["www.lb.example.com"])
    zone: Domain = Field(description=DNS_ZONE, examples=["lb.example.com"])
    server: DnsServer = Field(description=DNS_SERVER, examples=["192.0.2.53"])
    key_file: KeyFile = Field(description=DNS_KEY_FILE, examples=["/etc/xdplb/dns.key"])
    ttl: Ttl = Field(default=DNS_TTL_SECONDS, description=DNS_TTL)


class DnsPatch(RequestBody):
    """The same as a merge patch."""

    name: Domain | None = Field(default=None, description=DNS_NAME, examples=["www.lb.example.com"])
    zone: Domain | None = Field(default=None, description=DNS_ZONE, examples=["lb.example.com"])
    server: DnsServer | None = Field(default=None, description=DNS_SERVER, examples=["192.0.2.53"])
    key_file: KeyFile | None = Field(default=None, description=DNS_KEY_FILE, examples=["/etc/xdplb/dns.key"])
    ttl: Ttl | None = Field(default=None, description=DNS_TTL)


class DnsOut(ResponseBody):
    """The name in the DNS for the VIP's address."""

    name: str = Field(description=DNS_NAME, examples=["www.lb.example.com"])
    zone: str = Field(description=DNS_ZONE, examples=["lb.example.com"])
    server: str = Field(description=DNS_SERVER, examples=["192.0.2.53"])
    key_file: str = Field(description=DNS_KEY_FILE, examples=["/etc/xdplb/dns.key"])
    ttl: int = Field(description=DNS_TTL)


class DnsStatusOut(ResponseBody):
    """How a VIP's address stands under its name in DNS."""

    published: bool = Field(description="Whether the address is under the name, whoever has put it there.")
    standing: Standing | None = Field(
        description="in: by this node; out: not there; last: it does not serve, and is the last one; others: by other"
        " nodes alone; foreign: somebody has entered it, so it is left alone; alias: the name is a CNAME; null: unknown"
    )
    since: datetime = Field(description="Since when it stands so, UTC.")
    reason: str = Field(description="Why, as a sentence; empty if it is there and this node serves it.")
    is_behind: bool = Field(description="Whether the name could not be read or changed the last time.")

    @classmethod
    def of(cls, view: DnsView) -> Self:
        """Return the body for the manager's view."""
        return cls(
            published=view.is_published,
            standing=view.standing,
            since=view.since,
            reason=view.reason,
            is_behind=view.is_behind,
        )


class DnsAddressOut(ResponseBody):
    """An address under a name, or one that belongs there."""

    address: str = Field(description="The address.", examples=["203.0.113.10"])
    present: bool = Field(description="Whether it was under the name when that was read last.")
    nodes: list[str] = Field(description="The nodes that have a claim on it; empty if somebody else has entered it.")
    status: DnsStatusOut | None = Field(description="How it stands as this node sees it; null if no VIP here has it.")

    @classmethod
    def of(cls, view: DnsAddressView) -> Self:
        """Return the body for the manager's view."""
        return cls(
            address=str(view.address),
            present=view.is_present,
            nodes=list(view.nodes),
            status=None if view.here is None else DnsStatusOut.of(view.here),
        )


class DnsNameOut(ResponseBody):
    """A name of VIPs."""

    name: str = Field(description="The name.", examples=["www.lb.example.com"])
    zone: str = Field(description="Its zone.", examples=["example.com"])
    server: str = Field(description="The server by which it is changed.", examples=["192.0.2.53"])
    addresses: list[DnsAddressOut] = Field(description="Its addresses.")

    @classmethod
    def of(cls, view: DnsNameView) -> Self:
        """Return the body for the manager's view."""
        return cls(
            name=view.place.name,
            zone=view.place.zone,
            server=view.place.server_text,
            addresses=[DnsAddressOut.of(each) for each in view.addresses],
        )


class DnsListOut(ResponseBody):
    """All names of VIPs."""

    names: list[DnsNameOut] = Field(description="The names, as they were read last.")


class ForgottenOut(ResponseBody):
    """A claim that was taken back."""

    name: str = Field(description="The name.")
    address: str = Field(description="The address.")
    removed: bool = Field(description="Whether the address went, too: no other node has a claim on it.")


class DnsForgottenOut(ResponseBody):
    """What was taken back of a node that is gone, or with `dry_run` would be."""

    released: list[ForgottenOut] = Field(description="The claims.")

    @classmethod
    def of(cls, done: list[Forgotten]) -> Self:
        """Return the body for what was done."""
        return cls(
            released=[ForgottenOut(name=each.name, address=each.address, removed=each.is_removed) for each in done]
        )
