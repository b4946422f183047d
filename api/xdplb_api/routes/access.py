"""The access list of a VIP."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from xdplb.control.answers.views import AccessView, DryRun
from xdplb_api.answers import DELETED, deleted, problems, tag
from xdplb_api.deps import Change, ManagerOf, VipRef
from xdplb_api.paths import ACCESS
from xdplb_api.schemas.access import AccessIn, AccessOut, AccessPatch
from xdplb_api.schemas.base import DryRunOut

__all__ = ["router"]

router = APIRouter(tags=["access"])


@router.get(ACCESS, operation_id="getAccess", summary="Show a VIP's access list", responses=problems(404, 422))
async def get_access(vip: VipRef, manager: ManagerOf, response: Response) -> AccessOut:
    """Show whom a VIP takes packets from. The ETag is that of the VIP."""
    return await _shown(manager.access(vip), response)


@router.put(
    ACCESS,
    operation_id="putAccess",
    summary="Set a VIP's access list",
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def put_access(
    vip: VipRef, body: AccessIn, change: Change, manager: ManagerOf, response: Response
) -> AccessOut | DryRunOut:
    """Make the access list be as the body says, whole. What it denies is dropped and counted as `denied`."""
    outcome = await manager.put_access(vip, body.allow, body.deny, if_match=change.if_match, dry_run=change.dry_run)
    return DryRunOut.of(outcome) if isinstance(outcome, DryRun) else await _shown(outcome, response)


@router.patch(
    ACCESS,
    operation_id="patchAccess",
    summary="Replace one half of a VIP's access list",
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def patch_access(
    vip: VipRef, body: AccessPatch, change: Change, manager: ManagerOf, response: Response
) -> AccessOut | DryRunOut:
    """Replace what the body names (JSON merge patch): the whole of `allow`, of `deny` or of both."""
    outcome = await manager.patch_access(vip, body.changes(), if_match=change.if_match, dry_run=change.dry_run)
    return DryRunOut.of(outcome) if isinstance(outcome, DryRun) else await _shown(outcome, response)


@router.delete(
    ACCESS,
    operation_id="deleteAccess",
    summary="Take a VIP's access list away",
    status_code=204,
    response_class=Response,
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def delete_access(vip: VipRef, change: Change, manager: ManagerOf) -> Response:
    """Take packets of everybody, also where there is no list."""
    outcome = await manager.put_access(vip, (), (), if_match=change.if_match, dry_run=change.dry_run)
    return deleted(outcome if isinstance(outcome, DryRun) else None)


async def _shown(view: AccessView, response: Response) -> AccessOut:
    tag(response, view.generation)
    # Hundreds of thousands of prefixes take a second, in which others are to be answered.
    return await asyncio.to_thread(AccessOut.of, view)
