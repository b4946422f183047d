"""The metrics for Prometheus. Not under `/v1`, since Prometheus asks for `/metrics` by default."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf
from xdplb_api.exposition import MEDIA_TYPE, encode
from xdplb_api.metrics import collect
from xdplb_api.rights.needs import needs

__all__ = ["router"]

router = APIRouter(tags=["stats"])


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
        **problems(422, 503),
    },
)
async def get_metrics(answers: AnswersOf, request: Request) -> MetricsResponse:
    """Show all counters and the state of NICs, VIPs, backends, checks and the flow table, as of one moment."""
    return MetricsResponse(encode(collect(await answers.metrics(), request.app.state.figures())))
