"""IP addresses, prefixes and ports, parsed from what users write."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from .errors import InvalidError

__all__ = ["IPAddress", "IPNetwork", "address_order", "parse_address", "parse_network", "parse_port"]

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_BROADCAST = IPv4Address(0xFFFFFFFF)


def address_order(address: IPAddress) -> tuple[int, int]:
    """Return the key that sorts addresses of both families: IPv4 first."""
    return address.version, int(address)


def parse_address(text: str, pointer: str = "/address") -> IPAddress:
    """Return the unicast address in `text`. Raises InvalidError for the field `pointer`."""
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidError.field(
            pointer, f"{text!r} is not an IP address", hint="write it like 203.0.113.10 or 2001:db8::10"
        ) from None
    _check_unicast(address, text, pointer)
    return address


def parse_network(text: str, pointer: str = "/address") -> IPNetwork:
    """Return the prefix in `text`; an address is one of full length. Raises InvalidError for the field `pointer`."""
    kind: type[IPNetwork] = IPv6Network if ":" in text else IPv4Network  # twice as fast as ip_network, which tries both
    try:
        return kind(text)
    except ValueError as error:
        hint = "write it like 203.0.113.0/24 or 2001:db8::/64"
        if "host bits" in str(error):
            hint = f"the prefix is {kind(text, strict=False)}"
        raise InvalidError.field(pointer, f"{text!r} is not an IP prefix", hint=hint) from None


def parse_port(value: int | str, pointer: str = "/port") -> int:
    """Return the port in `value`, 0 (all ports) to 65535. Raises InvalidError for the field `pointer`."""
    text = str(value)
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
    if not 0 <= port <= 65535:
        raise InvalidError.field(
            pointer, f"{text!r} is not a port", hint="a port is a number from 1 to 65535, or 0 for all ports"
        )
    return port


def _check_unicast(address: IPAddress, text: str, pointer: str) -> None:
    if address.is_multicast or address.is_unspecified or address.is_loopback or address == _BROADCAST:
        raise InvalidError.field(
            pointer,
            f"{text} is not the address of a host: it is multicast, broadcast, loopback or unspecified",
            hint="give a unicast address",
        )
    if isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address.is_link_local):
        raise InvalidError.field(
            pointer,
            f"{text} cannot be reached through a router: it is link-local or an IPv4-mapped IPv6 address",
            hint="give a global or unique local address, or the IPv4 address itself",
        )
