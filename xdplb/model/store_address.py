# SPDX-License-Identifier: Apache-2.0
"""Where the store is that the balancers of a cluster share, and how a balancer makes itself known there."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Self

from .errors import InvalidError

__all__ = ["DEFAULT_PREFIX", "ETCD_PORT", "StoreAccess", "StoreAddress"]

ETCD_PORT = 2379
"""Where etcd listens for clients, if nothing else is said."""

DEFAULT_PREFIX = "/xdplb"

_POINTER = "/store"
_FORM = "give it as etcd://HOST:2379,HOST2:2379/PREFIX, or etcds:// for TLS"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._:-]+)+")
_SPLIT = re.compile(r",(?![^\[]*\])")
_LONGEST_PREFIX = 200


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """The members of an etcd cluster as HOST:PORT, with `[]` around IPv6, and the prefix of all keys, such as `/xdplb`.

    `tls`: it is talked to by TLS.
    """

    members: tuple[str, ...]
    prefix: str = DEFAULT_PREFIX
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address in a text such as `etcd://10.0.0.1:2379,10.0.0.2/xdplb`. Raises InvalidError."""
        scheme, found, rest = text.partition("://")
        if not found or scheme not in {"etcd", "etcds"}:
            raise _wrong(f"{text!r} is not the address of a store")
        hosts, slash, prefix = rest.partition("/")
        if "@" in hosts:
            raise _wrong("the address of the store has a user in it", "give --store-user and --store-password-file")
        members = tuple(_member(host) for host in _SPLIT.split(hosts))
        for member, times in Counter(members).items():
            if times > 1:
                raise _wrong(f"the store's member {member} is named {times} times", "name each once")
        return cls(members, _prefix(f"/{prefix}") if slash and prefix else DEFAULT_PREFIX, scheme == "etcds")

    @property
    def urls(self) -> tuple[str, ...]:
        """The URL of each member."""
        return tuple(f"{'https' if self.tls else 'http'}://{member}" for member in self.members)

    def __str__(self) -> str:
        return f"{'etcds' if self.tls else 'etcd'}://{','.join(self.members)}{self.prefix}"


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """How a balancer makes itself known to the store: files for TLS, and a user whose password is in a file.

    Without `ca`, the authorities that this host trusts are those that may vouch for the store.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = None

    def check(self, address: StoreAddress) -> None:
        """Raise InvalidError for options that do not go together, or not with the address."""
        if not address.tls and (self.ca or self.cert or self.key):
            raise _wrong("--store-ca, --store-cert and --store-key are for TLS", f"give --store {_tls(address)}")
        if (self.cert is None) != (self.key is None):
            raise _wrong("--store-cert needs --store-key, and this needs that", "give both or neither")
        if (self.user is None) != (self.password_file is None):
            raise _wrong("--store-user needs --store-password-file, and this needs that", "give both or neither")
        if self.user is not None and not self.user:
            raise _wrong("--store-user is empty", "give the name of a user of etcd")


def _tls(address: StoreAddress) -> str:
    return str(StoreAddress(address.members, address.prefix, tls=True))


def _member(text: str) -> str:
    host, port = text, str(ETCD_PORT)
    if (bracketed := re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)) is not None:
        host, port = bracketed[1], port if bracketed[2] is None else bracketed[2]
        try:
            host = f"[{IPv6Address(host)}]"
        except AddressValueError:
            raise _wrong(f"{text!r} is not a member of a store: {host!r} is not an IPv6 address") from None
    else:
        if text.count(":") > 1:
            raise _wrong(f"{text!r} is not a member of a store", f"put an IPv6 address in brackets; {_FORM}")
        host, colon, given = text.partition(":")
        port = given if colon else port
        if not _NAME.fullmatch(host):
            raise _wrong(f"{text!r} is not a member of a store: {host!r} is not a host")
        host = host.lower()
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise _wrong(f"{text!r} is not a member of a store: {port!r} is not a port", "give one from 1 to 65535")
    return f"{host}:{port}"


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if not _PREFIX.fullmatch(prefix) or len(prefix) > _LONGEST_PREFIX:
        raise _wrong(
            f"{text!r} is not a prefix for the keys of a store",
            "give words of letters, digits and . _ : - with / between them, such as /xdplb/site-a",
        )
    return prefix


def _wrong(detail: str, hint: str = _FORM) -> InvalidError:
    return InvalidError.field(_POINTER, detail, hint=hint)
