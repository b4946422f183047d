# SPDX-License-Identifier: Apache-2.0
"""The types of health checks, and which fields a check of each type has."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from .errors import InvalidError
from .key import Protocol

__all__ = [
    "DEFAULTS_OF",
    "FIELDS_OF",
    "OF_ALL",
    "CheckType",
    "Target",
    "default_of",
    "refuse_missing_check",
    "types_with",
]


class CheckType(StrEnum):
    """What a check does.

    `http` and `https` send a request, `tcp`, `tls` and `udp` connect and may send and expect a text, `dns` asks for a
    name, `icmp` pings, `exec` runs a command of this host, and `agent` reads a line from an agent on the backend.
    """

    HTTP = "http"
    HTTPS = "https"
    TCP = "tcp"
    TLS = "tls"
    UDP = "udp"
    DNS = "dns"
    ICMP = "icmp"
    EXEC = "exec"
    AGENT = "agent"

    @property
    def protocol(self) -> Protocol | None:
        """What its probes are sent in to a port of the backend; None if they go to no port."""
        if self in {CheckType.ICMP, CheckType.EXEC}:
            return None
        return Protocol.UDP if self in {CheckType.UDP, CheckType.DNS} else Protocol.TCP

    @property
    def advises(self) -> bool:
        """Whether it may also say how much a backend shall get: its weight, or that it drains."""
        return self in {CheckType.EXEC, CheckType.AGENT}

    @property
    def uses_tls(self) -> bool:
        """Whether it begins with a TLS handshake."""
        return self in {CheckType.HTTPS, CheckType.TLS}

    @property
    def is_http(self) -> bool:
        """Whether it sends an HTTP request, with or without TLS."""
        return self in {CheckType.HTTP, CheckType.HTTPS}


class Target(StrEnum):
    """Where probes go: to the backend's own address, or to the VIP's on that backend, as clients' packets do."""

    BACKEND = "backend"
    VIP = "vip"


_NO_SUCH_CHECK = {
    "ping": "it is called icmp",
    "misc": "it is called exec",
    "script": "it is called exec",
    "external": "it is called exec",
    "ssl": "it is called tls, or https with a request",
    "http_get": "it is called http",
    "ssl_get": "it is called https",
    "tcp_check": "it is called tcp",
    "udp_check": "it is called udp",
    "dns_check": "it is called dns",
    "misc_check": "it is called exec",
    "ping_check": "it is called icmp",
    "smtp_check": "use tcp, which expects 220",
    "agent-check": "it is called agent",
    "quic": "use udp with what to send and expect, or https on the same server",
    "http3": "use https, which asks over TCP",
    "h2": "use https, which asks in HTTP/1.1",
    "grpc": "use tls or tcp, or https if it answers HTTP/1.1",
    "smtp": "use tcp, which expects 220",
    "redis": "use tcp, which sends PING and expects PONG",
    "mysql": "use tcp, or exec with a command that asks the database",
    "pgsql": "use tcp, or exec with a command that asks the database",
    "ldap": "use tcp, or exec with a command that asks the directory",
}
"""What people look for and do not find, and what to use instead."""


def refuse_missing_check(word: object) -> None:
    """Raise InvalidError if `word` is a type of check that other balancers have and xdplb does not."""
    if hint := _NO_SUCH_CHECK.get(str(word).lower()):
        raise InvalidError.field("/type", f"there is no {word} check, only {', '.join(CheckType)}", hint=hint)


OF_ALL = frozenset(
    {"type", "name", "target", "interval_seconds", "fast_interval_seconds", "timeout_seconds", "rise", "fall", "jitter"}
)
"""The fields that checks of every type have."""

_REQUEST = frozenset({"method", "path", "host", "headers", "expect_status", "expect_body", "expect_body_regex"})
_TLS = frozenset({"sni", "verify", "ca_file", "cert_file", "key_file"})
_TEXTS = frozenset({"send", "expect"})
_CONNECTION = frozenset({"port", "reset"})

FIELDS_OF: Mapping[CheckType, frozenset[str]] = MappingProxyType(
    {
        CheckType.HTTP: OF_ALL | _CONNECTION | _REQUEST,
        CheckType.HTTPS: OF_ALL | _CONNECTION | _REQUEST | _TLS,
        CheckType.TCP: OF_ALL | _CONNECTION | _TEXTS,
        CheckType.TLS: OF_ALL | _CONNECTION | _TEXTS | _TLS,
        CheckType.UDP: OF_ALL | {"port"} | _TEXTS,
        CheckType.DNS: OF_ALL | {"port", "query_name", "query_type", "expect_rcode", "expect_answer"},
        CheckType.ICMP: OF_ALL,
        CheckType.EXEC: OF_ALL | {"port", "command", "user"},
        CheckType.AGENT: OF_ALL | _CONNECTION | {"send"},
    }
)
"""The fields that a check of each type has; each other one is None."""

_OF_REQUEST: Mapping[str, object] = {"method": "GET", "path": "/", "headers": (), "expect_status": (200,)}

DEFAULTS_OF: Mapping[CheckType, Mapping[str, object]] = MappingProxyType(
    {
        CheckType.HTTP: {"reset": False, **_OF_REQUEST},
        CheckType.HTTPS: {"reset": False, "verify": False, **_OF_REQUEST},
        CheckType.TCP: {"reset": False},
        CheckType.TLS: {"reset": False, "verify": False},
        CheckType.UDP: {},
        CheckType.DNS: {"query_name": ".", "query_type": "SOA", "expect_rcode": "NOERROR"},
        CheckType.ICMP: {},
        CheckType.EXEC: {"user": "nobody"},
        CheckType.AGENT: {"reset": False},
    }
)
"""What a field is that is not given, where that depends on the type and is not None."""


def types_with(field: str) -> list[CheckType]:
    """Return the types of checks that have this field."""
    return [kind for kind, names in FIELDS_OF.items() if field in names]


def default_of(field: str) -> object:
    """Return the default of DEFAULTS_OF that all types with this field share."""
    found = {repr(defaults[field]): defaults[field] for defaults in DEFAULTS_OF.values() if field in defaults}
    (value,) = found.values()
    return value
