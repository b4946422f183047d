# SPDX-License-Identifier: Apache-2.0
"""Events of DNS: which addresses of VIPs are under their names."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdplb.control.events.base import AboutVips, Event, Level

__all__ = ["DnsKeptLast", "DnsLeftBehind", "DnsNotOurs", "DnsPublished", "DnsReleased", "DnsWithdrawn"]


@dataclass(frozen=True, slots=True)
class DnsPublished(AboutVips, Event):
    """An address that this node serves is under its name in DNS now; `also_by` are other nodes that serve it."""

    KIND = "dns_published"
    TITLE = "address in DNS"
    LEVEL = Level.NOTICE
    name: str
    address: str
    vips: tuple[str, ...] = field(repr=False)
    server: str
    ttl: int
    also_by: str | None


@dataclass(frozen=True, slots=True)
class DnsWithdrawn(AboutVips, Event):
    """An address is under its name in DNS no more. Resolvers may give it out for `ttl` seconds more."""

    KIND = "dns_withdrawn"
    TITLE = "address no longer in DNS"
    LEVEL = Level.WARNING
    name: str
    address: str
    vips: tuple[str, ...] = field(repr=False)
    server: str
    ttl: int
    reason: str


@dataclass(frozen=True, slots=True)
class DnsReleased(AboutVips, Event):
    """An address that this node serves no more stays in DNS, since other nodes serve it."""

    KIND = "dns_released"
    TITLE = "address in DNS by other balancers alone"
    LEVEL = Level.NOTICE
    name: str
    address: str
    vips: tuple[str, ...] = field(repr=False)
    server: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class DnsKeptLast(AboutVips, Event):
    """An address stays in DNS although this node does not serve it: the name has no other one of this family."""

    KIND = "dns_kept_last"
    TITLE = "last address left in DNS"
    LEVEL = Level.WARNING
    name: str
    address: str
    vips: tuple[str, ...] = field(repr=False)
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class DnsNotOurs(AboutVips, Event):
    """An address is under its name already, without a claim of a balancer: it is left as it is, now and later."""

    KIND = "dns_not_ours"
    TITLE = "address in DNS is somebody else's"
    LEVEL = Level.WARNING
    name: str
    address: str
    vips: tuple[str, ...] = field(repr=False)
    server: str


@dataclass(frozen=True, slots=True)
class DnsLeftBehind(Event):
    """A name that no VIP has any more could not be cleaned up, since its key file is gone: its records are left."""

    KIND = "dns_left_behind"
    TITLE = "records left in DNS"
    LEVEL = Level.WARNING
    name: str
    server: str
    reason: str
