# SPDX-License-Identifier: Apache-2.0
"""The names that the API is served under on TCP: whoever comes by another one was sent by a web page.

A page whose own name resolves to this host's address (DNS rebinding) is seen in Host, any other page in Origin.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from xdplb.control.events import ActorKind
from xdplb.model.printable import quoted
from xdplb_api.peer import peer_in
from xdplb_api.problems import ProblemResponse

from .tls import Tls

__all__ = ["Hosts", "KnownHosts"]


class Hosts:
    """The names: `allowed` and those in the certificate of `tls`."""

    def __init__(self, allowed: Collection[str] = (), tls: Tls | None = None) -> None:
        self._allowed, self._tls = frozenset(name.lower().rstrip(".") for name in allowed), tls

    def has(self, host: str, local: str) -> bool:
        """Return whether a Host header is right for a connection to the address `local`.

        An address needs no look-up that a page could bend; on loopback, only addresses of loopback are expected.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        try:
            address, here = ip_address(name), ip_address(local)
        except ValueError:
            return name == "localhost" or name in self._allowed or self._is_certified(name)
        return address.is_loopback or not here.is_loopback or name in self._allowed

    def _is_certified(self, name: str) -> bool:
        names = self._tls.names if self._tls is not None else frozenset[str]()
        return name in names or f"*.{name.partition('.')[2]}" in names


class KnownHosts:
    """Refuses requests on TCP that name another host, or come from a page of another."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answer = self._refusal(scope) if scope["type"] == "http" and peer_in(scope).kind is ActorKind.TCP else None
        await (answer or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.hosts.has(host, (scope.get("server") or ("",))[0]):
            return ProblemResponse(
                421,
                "wrong-host",
                f"this API is not served for host {quoted(host, 200)}",
                hint="use an address, localhost, a name in its certificate, or one of xdplb up --allowed-host",
            )
        if origin is not None and origin != f"{scope['scheme']}://{host}":
            return ProblemResponse(403, "wrong-origin", f"requests from {quoted(origin, 200)} are not accepted")
        return None
