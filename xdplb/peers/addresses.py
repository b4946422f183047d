# SPDX-License-Identifier: Apache-2.0
"""Where a node listens to its peers, and where it sends to: an address and a UDP port."""

from __future__ import annotations

from typing import NamedTuple

from xdplb.model.address import parse_host, parse_port, split_port, with_port
from xdplb.model.errors import InvalidError
from xdplb.model.printable import quoted

__all__ = ["PEER_PORT", "Place", "parse_place"]

PEER_PORT = 4815
"""UDP. In the range that IANA registers, and registered to nobody."""

_ANY = {"0.0.0.0", "::"}  # noqa: S104 - it is compared with
_HINT = "write it like 10.0.0.2, 10.0.0.2:4815 or [2001:db8::2]:4815; names are not looked up"


class Place(NamedTuple):
    """An address, as sockets have it, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return with_port(self.host, self.port)

    @property
    def is_ipv6(self) -> bool:
        """Whether it is of IPv6."""
        return ":" in self.host


def parse_place(text: str, option: str, *, listens: bool = False) -> Place:
    """Return the address in `text`, with the port 4815 if it has none; one that listens may be 0.0.0.0 or ::.

    Raises InvalidError, which names the option.
    """
    pointer = f"/{option}"
    host, port = split_port(text)
    number = PEER_PORT if port is None else parse_port(port, pointer)
    if number == 0 and not listens:
        raise InvalidError.field(pointer, f"{quoted(text, 80)} has the port 0, which nobody listens on", hint=_HINT)
    if listens and host in _ANY:
        return Place(host, number)
    try:
        return Place(str(parse_host(host, pointer)), number)
    except InvalidError as error:
        error.hint = error.hint or _HINT
        raise
