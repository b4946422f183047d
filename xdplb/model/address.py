# SPDX-License-Identifier: Apache-2.0
"""IP addresses, prefixes and ports, parsed from what users write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import AF_INET, inet_pton

from .errors import InvalidError
from .misspelt import address_fault
from .numbers import whole_of
from .printable import printable, quoted

__all__ = [
    "IPAddress",
    "IPNetwork",
    "address_order",
    "parse_address",
    "parse_host",
    "parse_network",
    "parse_port",
    "split_port",
    "with_port",
]

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_WITH_PORT = re.compile(r"\[(?P<six>[^\[\]]*)\](?::(?P<port6>.*))?|(?P<four>[^:\[\]]*)(?::(?P<port4>[^:]*))?")
_CACHED = 1024  # a quarter of a megabyte
_BROADCAST = IPv4Address(0xFFFFFFFF)
_USUAL = frozenset(range(1, 224)) - {127}
"""First bytes of IPv4 addresses to which no rule below applies."""


def address_order(address: IPAddress) -> tuple[int, int]:
    """Return the key that sorts addresses of both families: IPv4 first."""
    return address.version, int(address)


def with_port(address: IPAddress | str, port: int) -> str:
    """Return an address and a port as they are written in URLs: IPv6 in brackets."""
    host = str(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_port(text: str) -> tuple[str, str | None]:
    """Return address and port of ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT, None for no port; neither is looked at."""
    found = _WITH_PORT.fullmatch(text)
    if found is None:  # such as an IPv6 address alone, which needs no brackets
        return text, None
    return (found["six"], found["port6"]) if found["six"] is not None else (found["four"], found["port4"])


def parse_host(text: str, pointer: str) -> IPAddress:
    """Return the unicast or loopback address in `text`, where a socket is. Raises InvalidError for `pointer`."""
    try:
        return parse_address(text, pointer)
    except InvalidError:
        with suppress(ValueError):
            if (address := ip_address(text)).is_loopback:
                return address
        raise


def parse_address(text: str, pointer: str = "/address") -> IPAddress:
    """Return the unicast address in `text`. Raises InvalidError for the field `pointer`."""
    try:
        address = _read(text)
    except ValueError:
        why, hint = address_fault(text)
        raise InvalidError.field(
            pointer, f"{quoted(text)} is not an IP address{f': {why}' if why else ''}", hint=hint
        ) from None
    _check_unicast(address, text, pointer)
    _refuse_zone(text, pointer)
    return address


@lru_cache(_CACHED)
def _read(text: str) -> IPAddress:
    """Return the address in `text`, as ip_address does, which takes four times as long: there may be thousands.

    A host that is a backend of many VIPs is read, and kept, once.
    """
    try:
        return IPv4Address(inet_pton(AF_INET, text))
    except OSError:
        return ip_address(text)


def parse_network(text: str, pointer: str = "/address") -> IPNetwork:
    """Return the prefix in `text`; an address is one of full length. Raises InvalidError for the field `pointer`."""
    _refuse_zone(text, pointer)
    kind: type[IPNetwork] = IPv6Network if ":" in text else IPv4Network  # twice as fast as ip_network, which tries both
    length = text.partition("/")[2]
    try:
        if length.isdecimal() and whole_of(length) is None:
            raise ValueError("leading zeros")
        return kind(text)
    except ValueError as error:
        why, hint = "", "write it like 203.0.113.0/24 or 2001:db8::/64"
        if "host bits" in str(error):
            why, hint = ": it has bits beyond its length", f"the prefix is {kind(text, strict=False)}"
        elif "leading zeros" in str(error):
            why, hint = ": its length has leading zeros", f"{hint}, with the length in digits without leading zeros"
        raise InvalidError.field(pointer, f"{quoted(text)} is not an IP prefix{why}", hint=hint) from None


def parse_port(value: int | str, pointer: str = "/port") -> int:
    """Return the port in `value`, 0 (all ports) to 65535. Raises InvalidError for the field `pointer`."""
    port = whole_of(str(value))
    if port is None or not 0 <= port <= 65535:
        raise InvalidError.field(
            pointer,
            f"{quoted(str(value), 60)} is not a port",
            hint="a port is a number from 1 to 65535, or 0 for all ports, in digits without leading zeros",
        )
    return port


def _refuse_zone(text: str, pointer: str) -> None:
    """Raise InvalidError if an address names a zone, such as `%eth0`: packets carry none, and any text can follow."""
    address, percent, zone = text.partition("%")
    if percent:
        length = zone.partition("/")[2]
        raise InvalidError.field(
            pointer,
            f"{quoted(text)} has a zone, which only an address of this host can have",
            hint=f"leave out the zone: {printable(address)}{f'/{printable(length)}' if length else ''}",
        )


def _check_unicast(address: IPAddress, text: str, pointer: str) -> None:
    """Raise InvalidError, which says what kind of address it is, unless a router would forward to the address."""
    if address.version == 4 and address.packed[0] in _USUAL:  # the rules take longer than all else with thousands
        return
    kind, hint = _unfit(address)
    if kind:
        raise InvalidError.field(pointer, f"{printable(text)} {kind}", hint=hint)


def _unfit(address: IPAddress) -> tuple[str, str]:
    """Return what an address is that no host has or that no router forwards to, and what to give; else empty texts."""
    return next(_unfitness(address), ("", ""))


def _unfitness(address: IPAddress) -> Iterator[tuple[str, str]]:
    unicast = "give an address that one host has"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            yield "is an IPv4-mapped IPv6 address, which is not sent", f"give the IPv4 address: {address.ipv4_mapped}"
        if address.is_link_local:
            yield "is a link-local address: no router forwards to it", "give a global or unique local address"
    if address.is_loopback:
        yield "is a loopback address: packets to it never leave a host", "give an address that other hosts can send to"
    if address.is_multicast:
        yield "is a multicast address: it belongs to a group of hosts", unicast
    if address.is_unspecified:
        yield "is the unspecified address: no host has it", unicast
    if address == _BROADCAST:
        yield "is the broadcast address: it belongs to all hosts of a segment", unicast
