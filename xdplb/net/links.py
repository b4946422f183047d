"""What an interface of this host is: MAC, MTU, driver, XDP program, addresses. Read once, when asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from xdplb.model.errors import NotFoundError, PlatformError

from . import ethtool
from .rtnetlink import RequestSocket

__all__ = ["Link", "XdpAttachment", "addresses", "holders", "host_addresses", "link", "names"]


@dataclass(frozen=True, slots=True)
class XdpAttachment:
    """The XDP program on an interface; `mode` is `native`, `skb`, `offload`, or `multi` for several at once."""

    program_id: int
    mode: str


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `up` says that it is up and has carrier; `mtu` is in bytes without the Ethernet header."""

    name: str
    ifindex: int
    mac: bytes
    mtu: int
    up: bool
    ethernet: bool
    xdp: XdpAttachment | None
    driver: str | None


def link(name: str) -> Link:
    """Return the interface called `name`. Raises NotFoundError that names those there are."""
    with _requests() as requests:
        links = {entry.name: entry for entry in requests.links()}
    found = links.get(name)
    if found is None:
        there = ", ".join(sorted(links.keys() - {"lo"})) or "none but lo"
        raise NotFoundError(f"there is no interface called {name!r}", hint=f"interfaces here: {there}")
    return Link(
        name=found.name,
        ifindex=found.ifindex,
        mac=found.mac,
        mtu=found.mtu,
        up=found.up and found.carrier,
        ethernet=found.ethernet,
        xdp=XdpAttachment(found.xdp_id, found.xdp_mode or "") if found.xdp_mode else None,
        driver=ethtool.driver(name),
    )


def names() -> list[str]:
    """Return the names of all interfaces, in the kernel's order."""
    with _requests() as requests:
        return [entry.name for entry in requests.links()]


def addresses(ifname: str) -> list[IPv4Interface]:
    """Return the IPv4 addresses of one interface, in the kernel's order. Raises NotFoundError."""
    ifindex = link(ifname).ifindex
    with _requests() as requests:
        return [address for index, address in requests.addresses() if index == ifindex]


def holders(address: IPv4Address) -> list[str]:
    """Return the names of the interfaces that have this address."""
    with _requests() as requests:
        indexes = {index for index, found in requests.addresses() if found.ip == address}
        return [entry.name for entry in requests.links() if entry.ifindex in indexes]


def host_addresses() -> frozenset[IPv4Address]:
    """Return every IPv4 address of this host (of this network namespace), loopback's too."""
    with _requests() as requests:
        return frozenset(address.ip for _, address in requests.addresses())


@contextlib.contextmanager
def _requests() -> Iterator[RequestSocket]:
    try:
        requests = RequestSocket()
    except OSError as error:
        raise PlatformError(f"the kernel's rtnetlink cannot be used: {error.strerror}") from error
    try:
        yield requests
    finally:
        requests.close()
