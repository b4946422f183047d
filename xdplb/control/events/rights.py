# SPDX-License-Identifier: Apache-2.0
"""Events of who may do what: what was refused, tokens, and the certificate of the API."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.actor import Actor
from xdplb.control.events.base import Event, Level

__all__ = [
    "AuthenticationFailed",
    "RequestForbidden",
    "TlsNotReloaded",
    "TlsReloaded",
    "TokenAdded",
    "TokenRemoved",
]


@dataclass(frozen=True, slots=True)
class AuthenticationFailed(Event):
    """Somebody asked without a right token or certificate, `times` since this was said last."""

    KIND = "authentication_failed"
    TITLE = "authentication failed"
    LEVEL = Level.WARNING
    actor: Actor
    reason: str
    times: int


@dataclass(frozen=True, slots=True)
class RequestForbidden(Event):
    """Somebody asked for what needs the role `needed`, and does not have it; `times` since this was said last."""

    KIND = "forbidden"
    TITLE = "forbidden"
    LEVEL = Level.WARNING
    actor: Actor
    request: str
    needed: str
    times: int


@dataclass(frozen=True, slots=True)
class TokenAdded(Event):
    """A token was added; `expires` is when it expires, None if it never does."""

    KIND = "token_added"
    TITLE = "token added"
    LEVEL = Level.NOTICE
    actor: Actor
    token: str
    role: str
    expires: str | None


@dataclass(frozen=True, slots=True)
class TokenRemoved(Event):
    """A token was removed: it is of no use any more."""

    KIND = "token_removed"
    TITLE = "token removed"
    LEVEL = Level.NOTICE
    actor: Actor
    token: str


@dataclass(frozen=True, slots=True)
class TlsReloaded(Event):
    """The API's certificate was read again; `expires` is when it expires."""

    KIND = "tls_reloaded"
    TITLE = "TLS certificate read again"
    LEVEL = Level.NOTICE
    certificate: str
    expires: str


@dataclass(frozen=True, slots=True)
class TlsNotReloaded(Event):
    """The API's certificate was to be read again, and is of no use; the one that was there stays."""

    KIND = "tls_not_reloaded"
    TITLE = "TLS certificate refused"
    LEVEL = Level.ERROR
    certificate: str
    error: str
