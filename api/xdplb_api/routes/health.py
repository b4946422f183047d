"""Whether the daemon lives (`/healthz`) and does its work (`/readyz`). Neither is under `/v1`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf
from xdplb_api.problems import ProblemResponse
from xdplb_api.schemas.system import HealthzOut, ReadyzOut

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="getHealthz", summary="Is it alive", responses=problems(422))
async def get_healthz() -> HealthzOut:
    """Answer as long as the daemon serves requests."""
    return HealthzOut()


@router.get(
    "/readyz",
    operation_id="getReadyz",
    summary="Does it do its work",
    response_model=ReadyzOut,
    responses=problems(422, 503),
)
async def get_readyz(answers: AnswersOf) -> Any:
    """Answer 200 when the data plane has what was asked; otherwise 503, with the sentences why in `reasons`."""
    reasons = answers.not_ready()
    return _not_ready(reasons) if reasons else ReadyzOut()


def _not_ready(reasons: list[str]) -> Response:
    return ProblemResponse(
        503, "not-ready", f"not ready: {'; '.join(reasons)}", hint="xdplb status shows the whole", reasons=reasons
    )
