# SPDX-License-Identifier: Apache-2.0
"""Where the addresses of a VIP are entered in the DNS."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .address import IPAddress, parse_host, parse_port, split_port, with_port
from .check_fields import FILE_PATTERN
from .errors import InvalidError

__all__ = ["DNS_TTL_RANGE", "DNS_TTL_SECONDS", "DOMAIN_MOST", "DOMAIN_PATTERN", "DnsEntry", "server_of"]

DNS_TTL_SECONDS = 30
DNS_TTL_RANGE = (1, 86400)
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
"""A name of RFC 1035, with or without the final dot: labels of up to 63 characters."""
DOMAIN_PATTERN = r"^[A-Za-z0-9_.-]+$"
"""What may be in a name."""
DOMAIN_MOST = 254
"""Characters of a name, with the final dot."""
_DNS_PORT = 53
_NAME_HINT = "write it like www.example.com: labels of up to 63 letters, digits, - and _, with dots between them"
_FILE_HINT = "give the absolute path of a file on each balancer, which has the TSIG key in BIND's form"


@dataclass(frozen=True, slots=True)
class DnsEntry:
    """A name for a VIP's address in `zone`, by updates (RFC 2136) to `server`, signed with a TSIG key (RFC 8945).

    `server` is ADDRESS or ADDRESS:PORT; `ttl` is in seconds. Names have no final dot.
    """

    name: str
    zone: str
    server: str
    key_file: str
    ttl: int = DNS_TTL_SECONDS

    def __post_init__(self) -> None:
        for field in ("name", "zone"):
            object.__setattr__(self, field, _domain(field, getattr(self, field)))
        if self.name != self.zone and not self.name.endswith(f".{self.zone}"):
            raise InvalidError.field(
                "/dns/name", f"{self.name} is not in the zone {self.zone}", hint="give a name that ends with the zone"
            )
        address, port = server_of(self.server)
        object.__setattr__(self, "server", str(address) if port == _DNS_PORT else with_port(address, port))
        if not re.fullmatch(FILE_PATTERN, self.key_file):
            raise InvalidError.field("/dns/key_file", f"{self.key_file!r} is not an absolute path", hint=_FILE_HINT)
        low, high = DNS_TTL_RANGE
        if not low <= self.ttl <= high:
            raise InvalidError.field(
                "/dns/ttl", f"dns.ttl is {self.ttl}", hint=f"give a whole number of seconds from {low} to {high}"
            )

    def __str__(self) -> str:
        return f"{self.name} in {self.zone} by {self.server}, TTL {self.ttl} s"


def server_of(text: str) -> tuple[IPAddress, int]:
    """Return the address and port of a DNS server in ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. Raises InvalidError.

    A loopback address is one, too: the server may run on the balancer.
    """
    pointer = "/dns/server"
    host, port = split_port(text)
    number = _DNS_PORT if port is None else parse_port(port, pointer)
    if number == 0:
        raise InvalidError.field(pointer, "the port of the server is 0", hint="give a port from 1 to 65535")
    return parse_host(host, pointer), number


def _domain(field: str, text: str) -> str:
    if not _NAME.fullmatch(text) or len(text) > DOMAIN_MOST:
        raise InvalidError.field(f"/dns/{field}", f"{text!r} is not a DNS name", hint=_NAME_HINT)
    return text.rstrip(".").lower()
