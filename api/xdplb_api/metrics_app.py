# SPDX-License-Identifier: Apache-2.0
"""What is served where metrics are read: /metrics, /healthz and /readyz, and nothing that changes anything.

It takes few connections of its own, so that nobody who reads there takes those of the API, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Depends, FastAPI

from xdplb.control.manager import Manager

from . import problems
from .admission import Admission
from .control import Control
from .deps import known_query
from .limits import Limits
from .middleware import HeadAsGet, InternalErrors
from .pages import ForeignPages
from .rights.figures import Figures
from .rights.needs import permitted
from .routes import health, metrics
from .shared import SharedAnswers
from .unambiguous import said_once

__all__ = ["METRICS_LIMITS", "create_metrics_app"]

METRICS_LIMITS = Limits(connections=32, requests=4, body_seconds=10.0, body_bytes=1)


def create_metrics_app(
    manager: Manager, *, version: str, figures: Callable[[], Figures], limits: Limits = METRICS_LIMITS
) -> FastAPI:
    """Return the application over `manager`; `figures` returns those of the API itself."""
    app = FastAPI(
        title="xdplb",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(permitted), Depends(known_query), Depends(said_once)],
    )
    app.state.control = Control(manager)
    app.state.figures = figures
    app.add_middleware(SharedAnswers, paths=("/metrics", "/readyz"))
    app.add_middleware(Admission, limits=limits, most=0, long_paths=(), is_endless=lambda _scope: False)
    app.add_middleware(InternalErrors)
    app.add_middleware(HeadAsGet, except_for=())
    app.add_middleware(ForeignPages, pages=frozenset())
    problems.install(app)
    app.include_router(health.router)
    app.include_router(metrics.router)
    return app
