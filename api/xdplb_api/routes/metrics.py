"""The metrics for Prometheus. Not under `/v1`, since Prometheus asks for `/metrics` by default."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import StreamingResponse

from xdplb_api.answers import problems
from xdplb_api.exposition import MEDIA_TYPE
from xdplb_api.scrape import Scrapes

__all__ = ["router"]

router = APIRouter(tags=["stats"])


class MetricsResponse(StreamingResponse):
    """Streams the text of metrics, which other answers share."""

    media_type = MEDIA_TYPE

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(_each(pieces))


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _scrapes(request: Request) -> Scrapes:
    scrapes: Scrapes = request.app.state.scrapes
    return scrapes


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
async def get_metrics(scrapes: Annotated[Scrapes, Depends(_scrapes)]) -> MetricsResponse:
    """Show all counters and the state of NICs, VIPs, backends, checks and the flow table, as of one moment."""
    return MetricsResponse(await scrapes.text())
