# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an address or a VIP that cannot be read, in words, and what it should be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

__all__ = ["Fault", "address_fault", "host_and_port", "vip_fault"]

_ADDRESS_HINT = "write it like 203.0.113.10 or 2001:db8::10"
_VIP_HINT = "write it like 203.0.113.10:443/tcp, [2001:db8::10]:443/tcp, 203.0.113.0/24:8000-8999/tcp+udp"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@]*@)?(\[[^\]]*\]|[^/:?#]*)(?::([0-9]+))?")
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_QUAD = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_WITH_PORT = re.compile(r"(\[[^\[\]]+\]|[^\[\]:/]+):([0-9]+)")
_ADDRESS_AND_PORTS = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+):([0-9]+(?:-[0-9]+)?)")
_LENGTH_OUTSIDE = re.compile(r"\[([0-9A-Fa-f:.]+)\](/[0-9]{1,3})(:.*)?")
_AND_PROTOCOL = re.compile(r"(.*)[/:](tcp\+udp|tcp|udp)", re.IGNORECASE)


class Fault(NamedTuple):
    """What is wrong, as the end of a sentence (empty: nothing better is known), and what to write instead."""

    why: str
    hint: str


def address_fault(text: str) -> Fault:
    """Return what is wrong with a text that is no IP address."""
    return next(_address_faults(text), Fault("", _ADDRESS_HINT))


def _address_faults(text: str) -> Iterator[Fault]:
    bare = text.strip()
    if bare != text and _is_address(bare):
        yield Fault("it has spaces around it", f"write {bare}")
    if bare.startswith("[") and bare.endswith("]") and _is_address(bare[1:-1]):
        yield Fault("brackets are only written where a port follows", f"write {bare[1:-1]}")
    if (url := _URL.match(bare)) is not None:
        host = url[1].strip("[]")
        yield Fault("it is a URL", f"give only the address{f': {host}' if _is_address(host) else ''}")
    if host_and_port(bare) is not None:
        yield Fault("it has a port", _ADDRESS_HINT)
    if "/" in bare and _is_network(bare):
        yield Fault("it is a prefix", "give one address, without a length")
    if _QUAD.fullmatch(bare) and (numbers := [int(part) for part in bare.split(".")]) and max(numbers) <= 255:
        yield Fault(
            "a number has a leading zero, which some programs read as octal", f"write {'.'.join(map(str, numbers))}"
        )
    if _NAME.fullmatch(bare) and not _QUAD.fullmatch(bare):
        yield Fault(
            "it is a name, and names are not looked up", f"give its address, such as from: getent ahosts {bare}"
        )


def host_and_port(text: str) -> tuple[str, int] | None:
    """Return address and port of `10.0.0.11:8080` or `[2001:db8::11]:8080`, None if the text is not of that form."""
    match = _WITH_PORT.fullmatch(text)
    if match is None or not _is_address(match[1].strip("[]")):
        return None
    return match[1].strip("[]"), int(match[2])


def _bracket_fault(rest: str, protocol: str) -> Fault | None:
    """Return what is wrong with the brackets of an IPv6 address or prefix, with its port or without."""
    if "[" not in rest and rest.count(":") > 1:
        return Fault("an IPv6 address needs brackets", f"write it like {_bracketed(rest)}/{protocol}")
    if (found := _LENGTH_OUTSIDE.fullmatch(rest)) is not None and _is_network(found[1] + found[2]):
        right = f"[{found[1]}{found[2]}]{found[3] or ':443'}/{protocol}"
        return Fault("the length of a prefix stands inside the brackets", f"write {right}")
    return None


def vip_fault(text: str) -> Fault:
    """Return what is wrong with a text that has not the form of a VIP."""
    bare = text.strip()
    if (url := _URL.match(bare)) is not None:
        return Fault("it is a URL", f"write it like {url[1] or '203.0.113.10'}:{url[2] or 443}/tcp")
    ended = _AND_PROTOCOL.fullmatch(bare)
    rest, protocol = (ended[1], ended[2].lower()) if ended is not None else (bare, "")
    if (fault := _bracket_fault(rest, protocol or "tcp")) is not None:
        return fault
    if (found := _ADDRESS_AND_PORTS.fullmatch(rest)) is not None and not protocol:
        known = _is_address(found[1].strip("[]")) or _is_network(found[1].strip("[]"))
        return Fault("the protocol is missing", f"write {rest}/tcp or {rest}/udp" if known else _VIP_HINT)
    return _missing(rest, protocol)


def _missing(rest: str, protocol: str) -> Fault:
    """Return which part is missing of a VIP whose protocol, if there is one, was taken from its end."""
    if not rest.strip("[]:") or rest.startswith(":") or rest.isdigit():
        return Fault("the address is missing", _VIP_HINT)
    if _is_address(rest.strip("[]:")) or _is_network(rest.strip("[]:")):
        what = "the port is missing" if protocol else "port and protocol are missing"
        return Fault(what, f"write it like {rest.rstrip(':')}:443/{protocol or 'tcp'}; port 0 stands for all ports")
    return Fault("", _VIP_HINT)


def _bracketed(text: str) -> str:
    """Return an IPv6 address without brackets, which may end in a port, with brackets and a port."""
    address, _, port = text.rpartition(":")
    if port.isdigit() and _is_address(address) and not _is_full(text):
        return f"[{address}]:{port}"
    return f"[{text}]:443" if _is_address(text) else "[2001:db8::10]:443"


def _is_full(text: str) -> bool:
    """Return whether all eight groups of an IPv6 address are there, so that the last one is no port."""
    return "::" not in text and text.count(":") == 7


def _is_address(text: str) -> bool:
    try:
        return not (isinstance(found := ip_address(text), IPv6Address) and found.scope_id)
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
