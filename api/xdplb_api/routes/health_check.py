# SPDX-License-Identifier: Apache-2.0
"""The health check of a VIP that has one."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.control.edits.edit import DeleteCheck, PutCheck
from xdplb.model.errors import NotFoundError
from xdplb.model.role import Role
from xdplb_api.answers import DELETED, created_or_not, deleted, effect, problems, tag
from xdplb_api.deps import AnswersOf, Change, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import HEALTH_CHECK
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.effect import DryRunOut
from xdplb_api.schemas.health_check import HealthCheckIn, HealthCheckOut, checks_out

__all__ = ["router"]

router = APIRouter(tags=["health checks"], route_class=JsonRoute)


@router.get(
    HEALTH_CHECK,
    operation_id="getHealthCheck",
    summary="Show a VIP's health check",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422),
)
async def get_health_check(vip: VipRef, answers: AnswersOf, response: Response) -> HealthCheckOut:
    """Show the first check and its results for each backend. The ETag is that of the VIP.

    `/checks` shows all.
    """
    view = answers.checks(vip)
    if not view.checks:
        raise NotFoundError(f"VIP {vip} has no health check", hint="add one with PUT; without a check, backends are up")
    tag(response, view.generation)
    return checks_out(view)[0]


@router.put(
    HEALTH_CHECK,
    operation_id="putHealthCheck",
    summary="Set a VIP's health check",
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {"description": "It is now as requested; or `dry_run`."},
        201: {"model": HealthCheckOut, "description": "The VIP had no health check before."},
        **problems(400, 404, 409, 412, 413, 415, 422, 503),
    },
)
async def put_health_check(
    vip: VipRef, *, body: HealthCheckIn, change: Change, answers: AnswersOf, response: Response
) -> HealthCheckOut | DryRunOut:
    """Replace the health check with the body. A VIP with several is refused: PUT them to `/checks`."""
    key = answers.key(vip)
    outcome = await change.make(PutCheck(key, body.check()))
    if change.tells_effect:
        return effect(outcome, change)
    is_new = not outcome.before.vips[key].checks
    view = answers.checks_after(outcome, key)
    created_or_not(response, view.generation, created=is_new, location=f"/v1/vips/{key.path}/health-check")
    return checks_out(view)[0]


@router.delete(
    HEALTH_CHECK,
    operation_id="deleteHealthCheck",
    summary="Remove a VIP's health check",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Role.ADMIN),
    responses={**DELETED, **problems(404, 409, 412, 422, 503)},
)
async def delete_health_check(vip: VipRef, change: Change, answers: AnswersOf) -> Response:
    """Stop checking: every backend is `up` from then on. A VIP with several checks is refused: DELETE `/checks`."""
    return await deleted(change, DeleteCheck(answers.key(vip)))
