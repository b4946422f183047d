# SPDX-License-Identifier: Apache-2.0
"""The application, composed of routes, error handlers and documentation."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.datastructures import Headers
from starlette.types import Scope

from xdplb.commit import commit
from xdplb.control.manager import Manager

from . import docs_page, openapi, problems
from .admission import Admission
from .control import Control
from .dashboard_files import ROOT, DashboardFiles
from .deps import json_only, known_query
from .docs_page import DOCS_PATH
from .event_readers import EventReaders
from .event_stream import wants_stream
from .idempotency import Idempotency
from .limits import Limits
from .middleware import HeadAsGet, InternalErrors
from .pages import ForeignPages, asked_on_purpose
from .rights.figures import Figures
from .rights.forbidden import ForbiddenError
from .rights.gate import Gate
from .rights.hosts import KnownHosts
from .rights.needs import permitted
from .rights.refusals import Refusals
from .rights.rights import Rights
from .routes import (
    access,
    backends,
    backup,
    capture,
    changes,
    checks,
    config,
    dataplane,
    dns,
    drain,
    events,
    explain,
    health,
    health_check,
    metrics,
    nodes,
    probe,
    records,
    stats,
    tokens,
    vips,
    whoami,
)
from .routes import version as version_route
from .shared import SharedAnswers
from .unambiguous import said_once

__all__ = ["create_app"]

LARGEST_BODY = 8 << 20
"""In bytes. The largest possible set of backends takes about half of it."""


def is_endless(scope: Scope) -> bool:
    """Return whether the answer to a request is streamed for as long as it is read."""
    path = scope["path"]
    return path in {"/v1/capture", "/v1/records"} or (
        path == "/v1/events" and wants_stream(Headers(scope=scope).get("accept", ""))
    )


LARGE = ("/metrics", "/readyz", "/v1/backends", "/v1/checks", "/v1/config", "/v1/stats", "/v1/status", "/v1/vips")
"""Paths whose answers take the longer the more VIPs or backends there are, and are the same for everyone."""

WITH_SECRETS = ("/v1/tokens",)
"""Paths whose answers have a secret: they are not kept."""


def create_app(
    manager: Manager, *, version: str, rights: Rights | None = None, limits: Limits | None = None
) -> FastAPI:
    """Return the API over `manager`, which the caller starts and stops; `version` is the daemon's.

    It may be served in another event loop, and another thread, than that of the manager. `rights` says who may do
    what; by default it is only root, on the Unix socket.
    """
    app = FastAPI(
        title="xdplb",
        version=version,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[
            Depends(permitted),
            Depends(known_query),
            Depends(said_once),
            Depends(asked_on_purpose),
            Depends(json_only),
        ],
    )
    rights = rights or Rights()
    app.state.control = control = Control(manager)
    refusals = Refusals(control.say)
    app.state.tokens = rights.tokens
    app.state.commit = commit()  # that of the code that runs: a checkout may be another one later
    app.state.refusals = refusals
    app.state.figures = lambda: Figures(dict(refusals.counts), rights.tls.expires if rights.tls is not None else None)
    limits = limits or Limits()
    app.add_middleware(Idempotency, never=WITH_SECRETS)
    app.state.event_readers = EventReaders(limits.readers)
    app.add_middleware(SharedAnswers, paths=LARGE)
    app.add_middleware(
        Admission, limits=limits, most=LARGEST_BODY, long_paths=("/access", "/v1/config"), is_endless=is_endless
    )
    app.add_middleware(Gate, tokens=rights.tokens, slowing=rights.slowing, refusals=refusals)
    app.add_middleware(DashboardFiles)
    app.add_middleware(InternalErrors)
    app.add_middleware(HeadAsGet, except_for=("/v1/capture", "/v1/records"))
    app.add_middleware(ForeignPages, pages=frozenset({ROOT, DOCS_PATH}))
    app.add_middleware(KnownHosts, hosts=rights.hosts)
    problems.install(app)
    _tell_of_forbidden(app, refusals)
    _add_routes(app)
    openapi.install(app)
    docs_page.install(app)
    return app


def _tell_of_forbidden(app: FastAPI, refusals: Refusals) -> None:
    @app.exception_handler(ForbiddenError)
    async def _forbidden(request: Request, error: ForbiddenError) -> Response:
        refusals.forbidden(error.actor, f"{request.method} {request.scope['path']}", error.needed)
        return problems.refused(error)


def _add_routes(app: FastAPI) -> None:
    v1 = APIRouter(prefix="/v1")
    # A VIP in a path may contain a slash, so the routes below a VIP must match before that of the VIP itself.
    for router in (
        config.router,
        changes.router,
        drain.router,
        backends.router,
        health_check.router,
        checks.router,
        probe.router,
        access.router,
        stats.router,
        explain.router,
        backup.router,
        capture.router,
        vips.router,
        dataplane.router,
        nodes.router,
        dns.router,
        records.router,
        events.router,
        version_route.router,
        tokens.router,
        whoami.router,
    ):
        v1.include_router(router)
    app.include_router(v1)
    app.include_router(health.router)
    app.include_router(metrics.router)
