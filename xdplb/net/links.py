# SPDX-License-Identifier: Apache-2.0
"""The interfaces of this host: MAC, MTU, driver, XDP program, addresses. Read from the kernel at each call."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from xdplb.model.address import IPAddress
from xdplb.model.errors import NotFoundError, PlatformError

from . import ethtool
from .rtmessages import IPInterface, LinkInfo
from .rtnetlink import RequestSocket

__all__ = [
    "Link",
    "XdpAttachment",
    "addresses",
    "holders",
    "host_addresses",
    "link",
    "names",
    "nics_below_vlans",
    "vlan_devices",
]


@dataclass(frozen=True, slots=True)
class XdpAttachment:
    """The XDP program on an interface; `mode` is `native`, `skb`, `offload`, or `multi` for several at once."""

    program_id: int
    mode: str


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `up`: it is up and has a carrier. `mtu` is in bytes without the Ethernet header.

    `master` is the bond or bridge it is part of, `master_kind` says which; `vlan_of` is the NIC below a VLAN device.
    """

    name: str
    ifindex: int
    mac: bytes
    mtu: int
    up: bool
    ethernet: bool
    xdp: XdpAttachment | None
    driver: str | None
    master: str | None = None
    master_kind: str = ""
    vlan_of: str | None = None


def link(name: str) -> Link:
    """Return the interface called `name`. Raises NotFoundError, whose hint lists the NICs of this host."""
    with _requests() as requests:
        links = {entry.ifindex: entry for entry in requests.links()}
    found = next((entry for entry in links.values() if entry.name == name), None)
    if found is None:
        existing = ", ".join(sorted({entry.name for entry in links.values()} - {"lo"})) or "only lo"
        raise NotFoundError(f"there is no NIC {name}", hint=f"NICs of this host: {existing}")
    return Link(
        name=found.name,
        ifindex=found.ifindex,
        mac=found.mac,
        mtu=found.mtu,
        up=found.up and found.carrier,
        ethernet=found.ethernet,
        xdp=XdpAttachment(found.xdp_id, found.xdp_mode or "") if found.xdp_mode else None,
        driver=ethtool.driver(name),
        master=links[found.master].name if found.master in links else None,
        master_kind=found.master_kind,
        vlan_of=_nic_below(found, links),
    )


def names() -> list[str]:
    """Return the names of all interfaces, in the kernel's order."""
    with _requests() as requests:
        return [entry.name for entry in requests.links()]


def vlan_devices(interfaces: Collection[str]) -> list[str]:
    """Return the names of the VLAN devices on these interfaces, also those on other VLAN devices (QinQ)."""
    with _requests() as requests:
        links = {entry.ifindex: entry for entry in requests.links()}
    return [entry.name for entry in links.values() if _nic_below(entry, links) in interfaces]


def nics_below_vlans(links: Collection[LinkInfo]) -> frozenset[str]:
    """Return the names of the NICs that have VLAN devices, directly or through others: they may get tagged frames."""
    by_index = {entry.ifindex: entry for entry in links}
    return frozenset(name for entry in links if (name := _nic_below(entry, by_index)) is not None)


def _nic_below(entry: LinkInfo, links: Mapping[int, LinkInfo]) -> str | None:
    """Return the NIC below a VLAN device; None for other interfaces, or if the NIC is in another namespace."""
    below: LinkInfo | None = entry
    while below is not None and below.vlan is not None:
        below = links.get(below.lower)
    return None if below is None or below is entry else below.name


def addresses(ifname: str) -> list[IPInterface]:
    """Return the addresses of one interface, IPv4 first. Raises NotFoundError."""
    ifindex = link(ifname).ifindex
    with _requests() as requests:
        return [found.address for found in requests.addresses() if found.ifindex == ifindex]


def holders(address: IPAddress) -> list[str]:
    """Return the names of the interfaces that have this address."""
    with _requests() as requests:
        indexes = {found.ifindex for found in requests.addresses() if found.address.ip == address}
        return [entry.name for entry in requests.links() if entry.ifindex in indexes]


def host_addresses() -> frozenset[IPAddress]:
    """Return the addresses that other hosts reach this one by: not those on lo, and no link-local ones of IPv6."""
    with _requests() as requests:
        nics = {entry.ifindex for entry in requests.links() if entry.name != "lo"}
        found = [each.address.ip for each in requests.addresses() if each.ifindex in nics]
    return frozenset(address for address in found if address.version == 4 or not address.is_link_local)


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
