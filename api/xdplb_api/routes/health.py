# SPDX-License-Identifier: Apache-2.0
"""Liveness (`/healthz`) and readiness (`/readyz`) of the daemon. Neither is under `/v1`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf
from xdplb_api.problems import ProblemResponse
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.system import HealthzOut, ReadyVipOut, ReadyzOut

__all__ = ["router"]

router = APIRouter(tags=["health"])

_MOST_VIPS = 64

Vips = Annotated[
    Sequence[str],
    Query(
        description="Also a VIP, by its key or name, of which `min_serving` backends must serve; may be given several"
        " times.",
        examples=["web"],
        max_length=_MOST_VIPS,
    ),
]


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
    responses=problems(404, 422, 503),
)
async def get_readyz(answers: AnswersOf, *, vip: Vips = ()) -> Any:
    """Answer 200 if packets are forwarded as configured, otherwise 503 with sentences that say why in `reasons`.

    That is: the data plane has the latest change, each NIC that was asked for has the program, is up and has a carrier,
    the state can be written, and, if there are backends, packets can be sent to at least one of them. With `vip`, also
    that of each of these VIPs at least `min_serving` backends are healthy and serve.
    """
    views, reasons = answers.readiness_of([each.replace(" ", "+") for each in vip])  # `+` means a space in a query
    vips = [ReadyVipOut.of(view) for view in views]
    return _not_ready(reasons, vips) if reasons else ReadyzOut(vips=vips)


def _not_ready(reasons: list[str], vips: list[ReadyVipOut]) -> Response:
    return ProblemResponse(
        503,
        "not-ready",
        f"not ready: {'; '.join(reasons)}",
        hint="see xdplb status",
        reasons=reasons,
        vips=[vip.model_dump(mode="json") for vip in vips],
    )
