# SPDX-License-Identifier: Apache-2.0
"""Who asks, as this API sees it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from xdplb.control.events import Actor
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.peer import actor_of
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.whoami import WhoAmIOut

__all__ = ["router"]

router = APIRouter(tags=["tokens"])


@router.get(
    "/whoami",
    operation_id="whoAmI",
    summary="Show who asks",
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def whoami(actor: Annotated[Actor, Depends(actor_of)]) -> WhoAmIOut:
    """Show who this request comes from and which role it has, as events would say it: also what a token is good for."""
    return WhoAmIOut.of(actor)
