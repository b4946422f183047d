# SPDX-License-Identifier: Apache-2.0
"""What identifies a VIP: its addresses, ports and protocols. It also decides which VIP wins if several match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import total_ordering
from ipaddress import ip_network
from typing import Self

from .address import IPAddress, IPNetwork, parse_address, parse_network, parse_port
from .errors import InvalidError
from .misspelt import vip_fault

__all__ = ["ALL_PORTS", "Protocol", "VipKey"]

LAST_PORT = 65535
ALL_PORTS = range(1, LAST_PORT + 1)
PATTERN = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([^:/]*)[:/]([^:/]+)")


class Protocol(StrEnum):
    """The transport protocol of a VIP: one, or both."""

    TCP = "tcp"
    UDP = "udp"
    BOTH = "tcp+udp"

    @property
    def numbers(self) -> tuple[int, ...]:
        """The IANA protocol numbers, as in the IP header."""
        return {"tcp": (6,), "udp": (17,), "tcp+udp": (6, 17)}[self.value]


@total_ordering
@dataclass(frozen=True, slots=True)
class VipKey:
    """One address or a prefix; one port, a range or all ports (port 0); TCP, UDP or both.

    `prefix_length` and `last_port` may be given as None, for one address and one port. They are never None afterwards.
    """

    address: IPAddress
    port: int
    protocol: Protocol
    prefix_length: int | None = None
    last_port: int | None = None

    def __post_init__(self) -> None:
        if self.prefix_length is None:
            object.__setattr__(self, "prefix_length", self.address.max_prefixlen)
        if self.last_port is None:
            object.__setattr__(self, "last_port", self.port)
        if (self.port, self.last_port) == (1, LAST_PORT):
            object.__setattr__(self, "port", 0)
            object.__setattr__(self, "last_port", 0)
        if not self.ports or (self.port == 0 and self.last_port != 0):
            raise InvalidError.field(
                "/last_port",
                f"{self.port} to {self.last_port} is not a range of ports",
                hint="give the lower port first, or port 0 alone for all",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a VIP as on the command line (`203.0.113.10:443/tcp`) or as in a URL (`path`)."""
        match = PATTERN.fullmatch(text.replace("_", "/"))
        if match is None:
            why, hint = vip_fault(text)
            raise InvalidError.field("/vip", f"{text!r} is not a VIP{f': {why}' if why else ''}", hint=hint)
        address = match[1] or match[2]
        if not match[3]:
            raise InvalidError.field(
                "/port", f"{text!r} is not a VIP: {vip_fault(text).why}", hint=vip_fault(text).hint
            )
        first, dash, last = match[3].partition("-")
        if match[4].lower() not in list(Protocol):
            raise InvalidError.field(
                "/protocol", f"{match[4]!r} is not a protocol that xdplb balances", hint="use tcp, udp or tcp+udp"
            )
        return cls.of(
            address,
            parse_port(first),
            Protocol(match[4].lower()),
            parse_port(last, "/last_port") if dash else None,
        )

    @classmethod
    def of(cls, address: str, port: int, protocol: Protocol, last_port: int | None = None) -> Self:
        """Return the key with an address or prefix as users write it. InvalidError points to the field."""
        if "/" not in address:
            return cls(parse_address(address), port, protocol, None, last_port)
        network = parse_network(address)
        parse_address(str(network.network_address))
        return cls(network.network_address, port, protocol, network.prefixlen, last_port)

    @property
    def ports(self) -> range:
        """All its ports, in order."""
        return ALL_PORTS if self.port == 0 else range(self.port, (self.last_port or 0) + 1)

    @property
    def network(self) -> IPNetwork:
        """All its addresses, as a prefix."""
        return ip_network((self.address, self.prefix_length or 0))

    @property
    def is_one_address(self) -> bool:
        """Whether it has a single address."""
        return self.prefix_length == self.address.max_prefixlen

    def has(self, address: IPAddress) -> bool:
        """Return whether this is one of its addresses."""
        shift = self.address.max_prefixlen - (self.prefix_length or 0)
        return address.version == self.address.version and int(address) >> shift == int(self.address) >> shift

    @property
    def is_exact(self) -> bool:
        """Whether it has a single address and a single port."""
        return self.is_one_address and len(self.ports) == 1

    @property
    def rank(self) -> tuple[int, int, int]:
        """The VIP of greatest rank wins a packet that several match: longest prefix, fewest ports, one protocol."""
        return (self.prefix_length or 0, -len(self.ports), -len(self.protocol.numbers))

    @property
    def addresses_text(self) -> str:
        """Its address, or its prefix with the length."""
        return str(self.address) if self.is_one_address else str(self.network)

    @property
    def path(self) -> str:
        """The key without slashes, for URLs: `203.0.113.10:443:tcp`, `203.0.113.0_24:443:tcp`."""
        return str(self).replace("/", "_")[: -len(self.protocol) - 1] + f":{self.protocol}"

    def __str__(self) -> str:
        host = f"[{self.addresses_text}]" if self.address.version == 6 else self.addresses_text
        ports = str(self.port) if self.port == self.last_port else f"{self.port}-{self.last_port}"
        return f"{host}:{ports}/{self.protocol}"

    def __lt__(self, other: Self) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[int, int, int, int, int, str]:
        return (
            self.address.version,
            int(self.address),
            self.prefix_length or 0,
            self.port,
            self.last_port or 0,
            self.protocol,
        )
