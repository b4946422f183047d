"""What Prometheus collects. Not under `/v1`: it asks for `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf
from xdplb_api.exposition import MEDIA_TYPE, encode
from xdplb_api.metrics import collect

__all__ = ["router"]

router = APIRouter(tags=["stats"])


class MetricsResponse(StreamingResponse):
    """Metrics as they are written, one after the other, in a thread: all of them may be tens of megabytes."""

    media_type = MEDIA_TYPE


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Show all metrics for Prometheus",
    response_class=MetricsResponse,
    status_code=200,
    responses={
        200: {
            "description": "Prometheus' text format.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **problems(422, 503),
    },
)
async def get_metrics(answers: AnswersOf) -> MetricsResponse:
    """Show all counters, and how NICs, VIPs, backends, checks and the flow table are, all as of one moment."""
    return MetricsResponse(encode(collect(await answers.metrics())))
