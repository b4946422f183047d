"""The health check of a VIP."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.control.answers.views import DryRun
from xdplb.control.manager import Manager
from xdplb.model.errors import NotFoundError
from xdplb_api.answers import DELETED, created_or_not, deleted, problems, tag
from xdplb_api.deps import Change, ManagerOf, VipRef
from xdplb_api.paths import HEALTH_CHECK
from xdplb_api.schemas.base import DryRunOut
from xdplb_api.schemas.health_check import HealthCheckIn, HealthCheckOut

__all__ = ["router"]

router = APIRouter(tags=["health checks"])


@router.get(
    HEALTH_CHECK, operation_id="getHealthCheck", summary="Show a VIP's health check", responses=problems(404, 422)
)
async def get_health_check(vip: VipRef, manager: ManagerOf, response: Response) -> HealthCheckOut:
    """Show the check and what it found, backend by backend. The ETag is that of the VIP."""
    tag(response, manager.vip(vip).generation)
    return _shown(manager, vip)


@router.put(
    HEALTH_CHECK,
    operation_id="putHealthCheck",
    summary="Set a VIP's health check",
    responses={
        200: {"description": "It is as asked; or `dry_run`."},
        201: {"model": HealthCheckOut, "description": "The VIP had none."},
        **problems(400, 404, 409, 412, 413, 415, 422, 503),
    },
)
async def put_health_check(
    vip: VipRef, body: HealthCheckIn, change: Change, manager: ManagerOf, response: Response
) -> HealthCheckOut | DryRunOut:
    """Make the check be as the body says, whole."""
    is_new = manager.health_check(vip) is None
    outcome = await manager.put_health_check(vip, body.check(), if_match=change.if_match, dry_run=change.dry_run)
    if isinstance(outcome, DryRun):
        return DryRunOut.of(outcome)
    view = manager.vip(vip)
    location = f"/v1/vips/{view.vip.key.path}/health-check"
    created_or_not(response, view.generation, created=is_new, location=location)
    return _shown(manager, vip)


@router.delete(
    HEALTH_CHECK,
    operation_id="deleteHealthCheck",
    summary="Remove a VIP's health check",
    status_code=204,
    response_class=Response,
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def delete_health_check(vip: VipRef, change: Change, manager: ManagerOf) -> Response:
    """Check no more. Every backend of the VIP is `up` from then on."""
    return deleted(await manager.delete_health_check(vip, if_match=change.if_match, dry_run=change.dry_run))


def _shown(manager: Manager, vip: str) -> HealthCheckOut:
    check = manager.health_check(vip)
    if check is None:
        raise NotFoundError(f"VIP {vip} has no health check", hint="PUT one here; without one its backends are up")
    return HealthCheckOut.of(check, manager.checks(vip))
