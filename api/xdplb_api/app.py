"""The application, composed of routes, error handlers and documentation."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI

from xdplb.control.manager import Manager

from . import docs_page, openapi, problems
from .deps import json_only, known_query
from .docs_page import DOCS_PATH
from .middleware import BodyLimit, HeadAsGet, InternalErrors
from .pages import ForeignPages, asked_on_purpose
from .routes import access, backends, capture, dataplane, drain, explain, health, health_check, metrics, stats, vips
from .routes import version as version_route
from .unambiguous import said_once

__all__ = ["create_app"]

LARGEST_BODY = 8 << 20
"""In bytes. The largest possible set of backends takes about half of it."""

LARGEST_ACCESS_LIST = 48 << 20
"""In bytes. The longest possible list of IPv6 prefixes takes about half of it."""


def create_app(manager: Manager, *, version: str) -> FastAPI:
    """Return the API over `manager`, which the caller starts and stops; `version` is the daemon's."""
    app = FastAPI(
        title="xdplb",
        version=version,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(known_query), Depends(said_once), Depends(asked_on_purpose), Depends(json_only)],
    )
    app.state.manager = manager
    app.add_middleware(BodyLimit, most=LARGEST_BODY, long_path="/access", long=LARGEST_ACCESS_LIST)
    app.add_middleware(InternalErrors)
    app.add_middleware(HeadAsGet, endless=["/v1/capture"])
    app.add_middleware(ForeignPages, pages=frozenset({DOCS_PATH}))
    problems.install(app)
    _add_routes(app)
    openapi.install(app)
    docs_page.install(app)
    return app


def _add_routes(app: FastAPI) -> None:
    v1 = APIRouter(prefix="/v1")
    # A VIP in a path may contain a slash, so the routes below a VIP must match before that of the VIP itself.
    for router in (
        drain.router,
        backends.router,
        health_check.router,
        access.router,
        stats.router,
        explain.router,
        capture.router,
        vips.router,
        dataplane.router,
        version_route.router,
    ):
        v1.include_router(router)
    app.include_router(v1)
    app.include_router(health.router)
    app.include_router(metrics.router)
