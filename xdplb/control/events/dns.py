"""Events of DNS: which addresses of VIPs are under their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdplb.control.events.base import Event, Level

__all__ = ["DnsKeptLast", "DnsLeftBehind", "DnsNotOurs", "DnsPublished", "DnsReleased", "DnsWithdrawn"]


class _AboutVips:
    """What an event has that is found by the VIPs behind an address."""

    __slots__ = ()
    vips: tuple[str, ...]

    def subjects(self) -> Sequence[tuple[str, str | None]]:
        """Return the VIPs behind the address."""
        return [(vip, None) for vip in self.vips]


@dataclass(frozen=True, slots=True)
class DnsPublished(_AboutVips, Event):
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
class DnsWithdrawn(_AboutVips, Event):
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
class DnsReleased(_AboutVips, Event):
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
class DnsKeptLast(_AboutVips, Event):
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
class DnsNotOurs(_AboutVips, Event):
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
