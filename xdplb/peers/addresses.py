"""Where a node listens to its peers, and where it sends to: an address and a UDP port."""

from __future__ import annotations

import re
from typing import NamedTuple

from xdplb.model.address import IPAddress, parse_address, parse_port, with_port
from xdplb.model.errors import InvalidError
from xdplb.model.printable import quoted

__all__ = ["PEER_PORT", "Place", "parse_place"]

PEER_PORT = 4815
"""UDP. In the range that IANA registers, and registered to nobody."""

_PLACE = re.compile(r"\[(?P<six>[^\[\]]+)\](?::(?P<port6>.*))?|(?P<four>[^:\[\]]+)(?::(?P<port4>[^:]*))?")
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
    found = _PLACE.fullmatch(text)
    if found is None and text.count(":") > 1:  # an IPv6 address alone needs no brackets
        found = _PLACE.fullmatch(f"[{text}]")
    if found is None:
        raise InvalidError.field(pointer, f"{quoted(text, 80)} is not an address of a peer", hint=_HINT)
    host, port = found["six"] or found["four"], found["port6"] if found["six"] else found["port4"]
    number = PEER_PORT if port is None else parse_port(port, pointer)
    if number == 0 and not listens:
        raise InvalidError.field(pointer, f"{quoted(text, 80)} has the port 0, which nobody listens on", hint=_HINT)
    if listens and host in _ANY:
        return Place(host, number)
    return Place(str(_unicast(host, pointer)), number)


def _unicast(host: str, pointer: str) -> IPAddress | str:
    try:
        return parse_address(host, pointer)
    except InvalidError as error:
        if host in {"127.0.0.1", "::1"}:  # two of them on one host, in tests and to try things
            return host
        error.hint = error.hint or _HINT
        raise
