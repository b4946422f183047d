"""IPv4 addresses and ports as users write them."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, ip_address

from .errors import InvalidError

__all__ = ["parse_address", "parse_port"]


def parse_address(text: str, pointer: str = "/address") -> IPv4Address:
    """Return the unicast IPv4 address in `text`, or raise InvalidError naming `pointer`."""
    try:
        address = ip_address(text)
    except (AddressValueError, ValueError):
        raise InvalidError.field(pointer, f"{text!r} is not an IP address", hint="write it like 203.0.113.10") from None
    if not isinstance(address, IPv4Address):
        raise InvalidError.field(
            pointer, f"{text} is an IPv6 address; this version balances IPv4", hint="give an IPv4 address"
        )
    if address.is_multicast or address.is_unspecified or address.is_loopback or int(address) == 0xFFFFFFFF:
        raise InvalidError.field(
            pointer,
            f"{text} cannot be a host: it is multicast, broadcast, loopback or unspecified",
            hint="give a unicast address",
        )
    return address


def parse_port(value: int | str, pointer: str = "/port") -> int:
    """Return the port 1 to 65535 in `value`, or raise InvalidError naming `pointer`."""
    text = str(value)
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
    if port == 0:
        raise InvalidError.field(
            pointer, "port 0 (all ports) is not supported by this version", hint="name one port, 1 to 65535"
        )
    if not 1 <= port <= 65535:
        raise InvalidError.field(pointer, f"{text!r} is no port", hint="a port is a number from 1 to 65535")
    return port
