# SPDX-License-Identifier: Apache-2.0
"""The metrics for Prometheus. Not under `/v1`, since Prometheus asks for `/metrics` by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from xdplb.control.answers.metrics import Asked, Level
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf
from xdplb_api.exposition import MEDIA_TYPE, encode
from xdplb_api.metrics import collect
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


class MetricsResponse(StreamingResponse):
    """Streams metrics, encoded in a thread: all of them may be tens of megabytes."""

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
            "description": "Prometheus' text format.",
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
    return MetricsResponse(encode(collect(view, request.app.state.figures())))
