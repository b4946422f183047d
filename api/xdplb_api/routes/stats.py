# SPDX-License-Identifier: Apache-2.0
"""Counters."""

from __future__ import annotations

from fastapi import APIRouter

from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf, VipRef
from xdplb_api.paths import VIP_STATS
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.stats import StatsOut, VipStatsOut

__all__ = ["router"]

router = APIRouter(tags=["stats"])


@router.get(
    "/stats",
    operation_id="getStats",
    summary="Show all counters",
    openapi_extra=needs(Role.READ),
    responses=problems(422, 503),
)
async def get_stats(answers: AnswersOf) -> StatsOut:
    """Show the counters of every VIP and backend, and of drops and passes by reason."""
    return StatsOut.of(await answers.stats())


@router.get(
    VIP_STATS,
    operation_id="getVipStats",
    summary="Show the counters of a VIP",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422, 503),
)
async def get_vip_stats(vip: VipRef, answers: AnswersOf) -> VipStatsOut:
    """Show the counters of one VIP and its backends."""
    return VipStatsOut.of(await answers.vip_stats(vip))
