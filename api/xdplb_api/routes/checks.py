# SPDX-License-Identifier: Apache-2.0
"""All health checks, of a VIP and of all VIPs."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.control.edits.edit import DeleteChecks, PutChecks
from xdplb.model.role import Role
from xdplb_api.answers import DELETED, created_or_not, deleted, effect, problems, tag
from xdplb_api.deps import AnswersOf, Change, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import ALL_CHECKS, CHECKS
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.effect import DryRunOut
from xdplb_api.schemas.health_check import AllChecksOut, ChecksIn, ChecksOut

__all__ = ["router"]

router = APIRouter(tags=["health checks"], route_class=JsonRoute)


@router.get(
    ALL_CHECKS,
    operation_id="listAllChecks",
    summary="List the results of the health checks of all VIPs",
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def list_all_checks(answers: AnswersOf) -> AllChecksOut:
    """Show the last result of each check of each backend; sorted by VIP and address."""
    return AllChecksOut.of(answers.all_checks())


@router.get(
    CHECKS,
    operation_id="getChecks",
    summary="Show all health checks of a VIP",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422),
)
async def get_checks(vip: VipRef, answers: AnswersOf, response: Response) -> ChecksOut:
    """Show the checks and their results for each backend. The ETag is that of the VIP."""
    view = answers.checks(vip)
    tag(response, view.generation)
    return ChecksOut.of(view)


@router.put(
    CHECKS,
    operation_id="putChecks",
    summary="Set all health checks of a VIP",
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {"description": "They are now as requested; or `dry_run`."},
        201: {"model": ChecksOut, "description": "The VIP had no health check before."},
        **problems(400, 404, 409, 412, 413, 415, 422, 503),
    },
)
async def put_checks(
    vip: VipRef, *, body: ChecksIn, change: Change, answers: AnswersOf, response: Response
) -> ChecksOut | DryRunOut:
    """Replace all health checks with those of the body. A check that stays keeps its results."""
    key = answers.key(vip)
    outcome = await change.make(PutChecks(key, body.wanted(key)))
    if change.tells_effect:
        return effect(outcome, change)
    is_new = bool(body.checks) and not outcome.before.vips[key].checks
    view = answers.checks_after(outcome, key)
    created_or_not(response, view.generation, created=is_new, location=f"/v1/vips/{key.path}/checks")
    return ChecksOut.of(view)


@router.delete(
    CHECKS,
    operation_id="deleteChecks",
    summary="Remove all health checks of a VIP",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Role.ADMIN),
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def delete_checks(vip: VipRef, change: Change, answers: AnswersOf) -> Response:
    """Stop checking. Every backend of the VIP is `up` from then on."""
    return await deleted(change, DeleteChecks(answers.key(vip)))
