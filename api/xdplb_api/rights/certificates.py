# SPDX-License-Identifier: Apache-2.0
"""The roles of client certificates, by what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xdplb.model.errors import InvalidError
from xdplb.model.role import Role

__all__ = ["CertificateRoles", "subject_of"]

_ATTRIBUTES = {
    "CN": "commonName",
    "O": "organizationName",
    "OU": "organizationalUnitName",
    "C": "countryName",
    "ST": "stateOrProvinceName",
    "L": "localityName",
    "DC": "domainComponent",
    "UID": "userId",
    "EMAILADDRESS": "emailAddress",
    "SERIALNUMBER": "serialNumber",
}
_NAMES = {"DNS": "DNS", "EMAIL": "email", "URI": "URI", "IP": "IP Address"}
_SHORT = {long: short for short, long in _ATTRIBUTES.items()}
_COMMA = re.compile(r"(?<!\\),")

Parts = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CertificateRoles:
    """Which role a client certificate has that has all of some parts, such as `CN=anna`; without any parts, each."""

    rules: tuple[tuple[Role, Parts], ...] = ()

    @classmethod
    def of(cls, given: Iterable[tuple[Role, str]]) -> CertificateRoles:
        """Return the roles of subjects as users write them: `CN=anna,O=ops`, `DNS=lb.example.net`, or `*` for any."""
        return cls(tuple((role, _parts(text)) for role, text in given))

    def role_of(self, certificate: Mapping[str, Any]) -> Role | None:
        """Return the highest role of a verified certificate, as the ssl module gives it; None if it has none."""
        has = frozenset((*_subject(certificate), *(_alternative_names(certificate))))
        return max((role for role, parts in self.rules if parts <= has), key=list(Role).index, default=None)


def subject_of(certificate: Mapping[str, Any]) -> str:
    """Return the subject of a certificate as people write it, such as `CN=anna,O=ops`; else its alternative names."""
    parts = _subject(certificate) or _alternative_names(certificate)
    return ",".join(f"{name}={_escaped(value)}" for name, value in parts)


def _subject(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(_SHORT.get(name, name), value) for rdn in certificate.get("subject", ()) for name, value in rdn]


def _alternative_names(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    words = {long: short for short, long in _NAMES.items()}
    names = certificate.get("subjectAltName", ())
    return [(words[kind], value) for kind, value in names if kind in words]


def _parts(text: str) -> Parts:
    if text == "*":
        return frozenset()
    parts = []
    for part in _COMMA.split(text):
        name, equals, value = part.strip().partition("=")
        kind = name.strip().upper()
        if not equals or not value or kind not in {*_ATTRIBUTES, *_NAMES}:
            raise InvalidError.field(
                "/tls-client-role",
                f"{text!r} does not say which certificates are meant",
                hint=f"write it like admin=CN=anna, operate=O=ops,OU=network, read=URI=spiffe://example.net/prometheus"
                f" or read=* for any certificate of the CA; there are {', '.join([*_ATTRIBUTES, *_NAMES])}",
            )
        parts.append((kind, value.replace("\\,", ",").replace("\\\\", "\\")))
    return frozenset(parts)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")
