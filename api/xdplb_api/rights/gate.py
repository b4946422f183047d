# SPDX-License-Identifier: Apache-2.0
"""The gate: who sent a request, and so which role it has. Who has none gets no further."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from xdplb.control.events import Actor, ActorKind
from xdplb.model.printable import quoted
from xdplb.model.role import Role
from xdplb_api.connections import connection_of
from xdplb_api.peer import host_of, peer_in, with_peer
from xdplb_api.problems import ProblemResponse

from .refusals import Refusals
from .slowing import Slowing
from .token_file import TokenFile
from .tokens import Token

__all__ = ["Gate"]

_REALM = 'Bearer realm="xdplb"'
_HINT = "send the header Authorization: Bearer TOKEN (xdplb --token-file FILE); xdplb token add NAME makes a token"


class Gate:
    """Lets requests through whose peer has a role: on the Unix socket by its groups, on TCP by token or certificate.

    On TCP a token that is sent counts, and not the certificate. On the Unix socket tokens are not looked at.
    """

    def __init__(self, app: ASGIApp, tokens: TokenFile, slowing: Slowing, refusals: Refusals) -> None:
        self.app, self._tokens, self._slowing, self._refusals = app, tokens, slowing, refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        peer = peer_in(scope)
        given = Headers(scope=scope).getlist("authorization") if peer.kind is ActorKind.TCP else []
        if given:
            actor = self._by_token(peer, given, scope)
            if isinstance(actor, str):
                await self._refuse(peer, actor, scope, receive, send)
                return
            scope = with_peer(scope, actor)
        elif peer.role is None:
            if peer.certificate is not None or peer.kind is not ActorKind.TCP:
                await self._has_no_role(peer, scope)(scope, receive, send)
            else:
                await self._refuse(peer, "", scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _by_token(self, peer: Actor, given: list[str], scope: Scope) -> Actor | str:
        """Return the actor whose token was sent, or a sentence that says what is wrong with it."""
        scheme, _, secret = given[0].partition(" ")
        if len(given) > 1:
            return "the header Authorization is given more than once"
        if scheme.lower() != "bearer" or not secret.strip():
            return "the header Authorization is not of the form Bearer TOKEN"
        token = self._tokens.tokens.find(secret.strip())
        if token is None:
            return "there is no such token, or it was removed"
        if not self._tokens.tokens.holds(token):
            return f"the token {token.name} has expired"
        self._tokens.use(token)
        self._watch(scope, token)
        return replace(peer, token=token.name, certificate=None, role=token.role)

    def _watch(self, scope: Scope, token: Token) -> None:
        """Have the connection closed when the token is removed or expires while it is answered, such as a capture."""
        connection = connection_of(scope)
        if connection is not None:
            connection.let_in_by["token"] = lambda: self._tokens.tokens.holds(token)

    async def _refuse(self, peer: Actor, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 401 and close the connection: later, if this host has been refused often."""
        host = host_of(peer)
        self._refusals.unknown(peer, host, reason or "no token and no certificate")
        seconds = self._slowing.failed(host)
        if seconds is None:
            await _too_often()(scope, receive, send)
            return
        if seconds:
            connection = connection_of(scope)
            if connection is not None:
                connection.makes_room = True
            try:
                await asyncio.sleep(seconds)
            finally:
                self._slowing.waited(host)
        await _unknown(reason)(scope, receive, send)

    def _has_no_role(self, peer: Actor, scope: Scope) -> ProblemResponse:
        self._refusals.forbidden(peer, f"{scope['method']} {scope['path']}", Role.READ)
        if peer.certificate is None:
            return no_role(peer)
        return ProblemResponse(
            403,
            "forbidden",
            f"the certificate {quoted(peer.certificate, 200)} has no role",
            hint="xdplb up --tls-client-role ROLE=SUBJECT gives it one",
        )


def no_role(peer: Actor) -> ProblemResponse:
    """Return the answer to a process on the Unix socket that has no role."""
    return ProblemResponse(
        403,
        "forbidden",
        f"user {peer.user or peer.uid} has no role here: none of its groups has one",
        hint="use sudo, or a group that has a role: xdplb up --socket-group ROLE=GROUP",
    )


def _unknown(reason: str) -> ProblemResponse:
    """Return a 401; without a reason nothing was sent (RFC 6750, 3)."""
    error = f', error="invalid_token", error_description="{reason}"' if reason else ""
    return ProblemResponse(
        401,
        "unauthenticated",
        reason or "this API asks for a token or a client certificate",
        hint=_HINT,
        headers={"WWW-Authenticate": _REALM + error, "Connection": "close"},
    )


def _too_often() -> ProblemResponse:
    return ProblemResponse(
        429,
        "too-many-failures",
        "too many requests with a wrong token come from this address",
        hint="right tokens are accepted as ever; try a wrong one again later",
        headers={"Retry-After": "10", "WWW-Authenticate": _REALM, "Connection": "close"},
    )
