# SPDX-License-Identifier: Apache-2.0
"""The metrics for Prometheus. Not under `/v1`, since Prometheus asks for `/metrics` by default."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from xdplb.control.answers.metrics import Asked, Level, MetricsView
from xdplb.model.role import Role
from xdplb_api.accepted import takes_gzip
from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf
from xdplb_api.exposition import MEDIA_TYPE, compressed, encode
from xdplb_api.metrics import collect
from xdplb_api.rights.figures import Figures
from xdplb_api.rights.needs import needs

__all__ = ["router"]

router = APIRouter(tags=["stats"])


_MOST_VIPS = 64

Vips = Annotated[
    Sequence[str],
    Query(
        description="Only the VIPs with these keys or names, and their backends; may be given several times.",
        examples=["web"],
        max_length=_MOST_VIPS,
    ),
]

LevelAsked = Annotated[
    Level,
    Query(
        description="How far down: `backend` is everything, `vip` leaves out what has a label for a backend, and"
        " `total` also what has one for a VIP.",
    ),
]


class MetricsResponse(Response):
    """Metrics as text, or as gzip of it."""

    media_type = MEDIA_TYPE


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Show all metrics for Prometheus",
    response_class=MetricsResponse,
    status_code=200,
    openapi_extra=needs(Role.READ),
    responses={
        200: {
            "description": "Prometheus' text format; compressed, if the client takes gzip.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **problems(404, 422, 503),
    },
)
async def get_metrics(
    answers: AnswersOf, request: Request, *, vip: Vips = (), level: LevelAsked = Level.BACKEND
) -> MetricsResponse:
    """Show all counters and the state of NICs, VIPs, backends, checks and the flow table, as of one moment.

    With tens of thousands of backends that is tens of megabytes: `level` and `vip` ask for less.
    """
    vips = tuple(each.replace(" ", "+") for each in vip)  # `+` means a space in a query
    view = await answers.metrics(Asked(level, vips))
    in_gzip = takes_gzip(request.headers)
    body = await asyncio.to_thread(_body, view, request.app.state.figures(), in_gzip=in_gzip)
    headers = {"vary": "accept-encoding"} | ({"content-encoding": "gzip"} if in_gzip else {})
    return MetricsResponse(body, headers=headers)


def _body(view: MetricsView, figures: Figures, *, in_gzip: bool) -> bytes:
    """Return all metrics, which may be tens of megabytes. It is made as a whole, since it is sent to many."""
    pieces = encode(collect(view, figures))
    return b"".join(compressed(pieces) if in_gzip else pieces)
