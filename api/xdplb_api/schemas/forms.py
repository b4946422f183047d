# SPDX-License-Identifier: Apache-2.0
"""The forms of texts that clients send, as JSON schemas: what does not match is refused for its form.

A text of the right form may still be refused for what it says, such as a multicast address or one that is in use.
"""

from __future__ import annotations

from typing import Any

from xdplb.model.moment import MOMENT_PATTERN
from xdplb.model.vip import NAME_PATTERN

__all__ = [
    "ADDRESS",
    "ADDRESSES",
    "CAPTURED_CLIENT",
    "CLIENT",
    "DESTINATION",
    "ENTITY_TAG",
    "IDEMPOTENCY_KEY",
    "MOMENT",
    "PREFIXES",
    "VIP_REF",
]

Form = dict[str, Any]

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_H16 = "[0-9A-Fa-f]{1,4}"
_LS32 = f"(?:{_H16}:{_H16}|{_IPV4})"
_IPV6 = "|".join(  # RFC 3986, section 3.2.2
    [
        f"(?:{_H16}:){{6}}{_LS32}",
        f"::(?:{_H16}:){{5}}{_LS32}",
        *(f"(?:(?:{_H16}:){{0,{before}}}{_H16})?::(?:{_H16}:){{{4 - before}}}{_LS32}" for before in range(5)),
        f"(?:(?:{_H16}:){{0,5}}{_H16})?::{_H16}",
        f"(?:(?:{_H16}:){{0,6}}{_H16})?::",
    ]
)
_IPV6 = f"(?:{_IPV6})"
_PORT = "(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_LENGTH4 = "(?:3[0-2]|[12]?[0-9])"
_LENGTH6 = "(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])"
_PROTOCOL = r"(?:tcp\+udp|tcp|udp)"
_PORTS = f"(?:0|{_PORT}(?:-{_PORT})?)"


def _text(pattern: str, **more: Any) -> Form:
    return {"type": "string", "pattern": f"^(?:{pattern})$", **more}


def _either(kind: str, *forms: Form) -> Form:
    return {"type": "string", "format": kind, "anyOf": list(forms)}


_ADDRESS4, _ADDRESS6 = _text(_IPV4, format="ipv4"), _text(_IPV6, format="ipv6")
_PREFIX4 = _text(f"{_IPV4}/{_LENGTH4}", format="ipv4-prefix")
_PREFIX6 = _text(f"{_IPV6}/{_LENGTH6}", format="ipv6-prefix")

ADDRESS = _either("ip", _ADDRESS4, _ADDRESS6)
"""One address, without a zone or a port."""

ADDRESSES = _either("ip-or-prefix", _ADDRESS4, _ADDRESS6, _PREFIX4, _PREFIX6)
"""One address or a prefix, without bits beyond its length."""

PREFIXES = ADDRESSES
"""The sources of an access list."""

ENTITY_TAG = _text(r'(?:W/)?"[^"]*"')
"""One entity tag of RFC 9110. Those of this API are numbers in quotes."""

IDEMPOTENCY_KEY = _text(r'"[ !#-\[\]-~]{1,128}"|[!#-\[\]-~]{1,128}')
"""A key of draft-ietf-httpapi-idempotency-key-header: printable ASCII in quotes, which may be left out."""

VIP_REF = _text(
    rf"{NAME_PATTERN.strip('^$')}|(?:{_IPV4}(?:_{_LENGTH4})?|\[{_IPV6}(?:_{_LENGTH6})?\]):{_PORTS}:{_PROTOCOL}"
)
"""A VIP in a path: its name or its key."""

CLIENT = _text(rf"(?:{_IPV4}|\[{_IPV6}\]):{_PORT}")
"""A client's address and port."""

CAPTURED_CLIENT = _text(rf"{_IPV4}(?:/{_LENGTH4})?|{_IPV6}(?:/{_LENGTH6})?|(?:{_IPV4}|\[{_IPV6}\]):{_PORT}")
"""A client's address, a prefix of clients, or address and port."""

DESTINATION = _text(
    rf"{NAME_PATTERN.strip('^$')}|(?:{_IPV4}(?:/{_LENGTH4})?|\[{_IPV6}(?:/{_LENGTH6})?\]):{_PORTS}[:/]{_PROTOCOL}"
)
"""A VIP in a query: its name or its key."""

MOMENT: Form = {"type": "string", "pattern": MOMENT_PATTERN}
"""A moment in the past."""
