# SPDX-License-Identifier: Apache-2.0
"""The data plane and the status of the balancer."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.model.role import Role
from xdplb_api.answers import problems, tag
from xdplb_api.deps import AnswersOf
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.system import DataplaneOut, StatusOut

__all__ = ["router"]

router = APIRouter(tags=["dataplane"])


@router.get(
    "/dataplane",
    operation_id="getDataplane",
    summary="Show the data plane",
    openapi_extra=needs(Role.READ),
    responses=problems(422, 503),
)
async def get_dataplane(answers: AnswersOf) -> DataplaneOut:
    """Show what is loaded and attached, and how full the maps are."""
    return DataplaneOut.of(answers.dataplane())


@router.get(
    "/status",
    operation_id="getStatus",
    summary="Show the status of the balancer",
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def get_status(answers: AnswersOf, response: Response) -> StatusOut:
    """Show an overview of the balancer: whether it is ready, its NICs, its VIPs."""
    view = answers.status()
    tag(response, view.generation)
    return StatusOut.of(view, answers.not_ready())
