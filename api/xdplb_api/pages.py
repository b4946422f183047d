# SPDX-License-Identifier: Apache-2.0
"""Requests that a web page makes a browser send, without whoever sits at the browser wanting it.

A page of another site cannot read the answers of this API, but its requests arrive: over loopback TCP, or through a
proxy in front of the Unix socket. Browsers say where a request comes from (Fetch Metadata, Origin). What a browser
sends without asking first (CORS' simple requests) has no JSON content type and no header of ours.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from xdplb.model.printable import quoted

from .problems import ProblemResponse

__all__ = ["CLIENT_HEADER", "ForeignPages", "asked_on_purpose", "is_json"]

CLIENT_HEADER = "Xdplb-Client"
"""Any value of it says that the request is not one of a web page."""

_OWN = {"same-origin", "none"}  # none: typed into the address bar, or a bookmark
_ACTING_GETS = {"/v1/capture"}


class ForeignPages:
    """Refuses requests of web pages of other sites, except where a link to one of `pages` was followed."""

    def __init__(self, app: ASGIApp, pages: frozenset[str]) -> None:
        self.app, self.pages = app, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answer = self._refusal(scope) if scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        headers = Headers(scope=scope)
        site = headers.getlist("sec-fetch-site")
        if any(one.lower() not in _OWN for one in site) and not self._follows_a_link(scope, headers):
            return _forbidden(f"requests of a page of another site ({quoted(site[0], 60)}) are not accepted")
        for origin in headers.getlist("origin"):
            if not _is_same(origin, headers.get("host", "")):
                return _forbidden(f"requests of a page from {quoted(origin, 200)} are not accepted")
        return None

    def _follows_a_link(self, scope: Scope, headers: Headers) -> bool:
        is_page = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return is_page and scope["method"] == "GET" and scope["path"] in self.pages


def _forbidden(detail: str) -> ProblemResponse:
    return ProblemResponse(403, "wrong-origin", detail, hint="use xdplb, curl, or a page that this API serves itself")


def _is_same(origin: str, host: str) -> bool:
    """Return whether an Origin is a page of the host in Host, with the same port where both say one."""
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        if page.hostname is None or page.hostname != here.hostname:
            return False
        usual = {"http": 80, "https": 443}.get(page.scheme)
        return (page.port or usual) == (here.port or usual)
    except ValueError:
        return False


def is_json(content_type: str) -> bool:
    """Return whether a Content-Type is JSON, which no page can send to another site without asking first."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def asked_on_purpose(request: Request) -> None:
    """Refuse a request that acts, and that any web page can make a browser send, if it does not say that it is none."""
    acts = request.method == "POST" or (request.method == "GET" and request.scope["path"] in _ACTING_GETS)
    if not acts or request.headers.get(CLIENT_HEADER) or is_json(request.headers.get("content-type", "")):
        return
    raise HTTPException(
        415,
        f"a {request.method} of {quoted(request.scope['path'], 200)} acts, so it must have the header"
        f" Content-Type: application/json or {CLIENT_HEADER}",
    )
