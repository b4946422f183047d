"""Liveness (`/healthz`) and readiness (`/readyz`) of the daemon. Neither is under `/v1`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf
from xdplb_api.problems import ProblemResponse
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.system import HealthzOut, ReadyzOut

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get(
    "/healthz", operation_id="getHealthz", summary="Liveness", openapi_extra=needs(Role.READ), responses=problems(422)
)
async def get_healthz() -> HealthzOut:
    """Answer 200 as long as the daemon serves requests."""
    return HealthzOut()


@router.get(
    "/readyz",
    operation_id="getReadyz",
    summary="Readiness",
    response_model=ReadyzOut,
    openapi_extra=needs(Role.READ),
    responses=problems(422, 503),
)
async def get_readyz(answers: AnswersOf) -> Any:
    """Answer 200 if packets are forwarded as configured, otherwise 503 with sentences that say why in `reasons`.

    That is: the data plane has the latest change, each NIC that was asked for has the program, is up and has a carrier,
    the state can be written, and, if there are backends, packets can be sent to at least one of them.
    """
    reasons = answers.not_ready()
    return _not_ready(reasons) if reasons else ReadyzOut()


def _not_ready(reasons: list[str]) -> Response:
    return ProblemResponse(
        503, "not-ready", f"not ready: {'; '.join(reasons)}", hint="see xdplb status", reasons=reasons
    )
