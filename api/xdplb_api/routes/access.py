# SPDX-License-Identifier: Apache-2.0
"""The access list of a VIP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Response

from xdplb.control.answers.views import AccessView
from xdplb.control.edits.edit import PatchAccess, PutAccess
from xdplb.control.state.desired import NO_ACCESS_LIST
from xdplb.model.access import AccessList
from xdplb.model.role import Role
from xdplb_api.answers import DELETED, deleted, effect, problems, tag
from xdplb_api.deps import AnswersOf, Change, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import ACCESS
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.access import AccessIn, AccessOut, AccessPatch
from xdplb_api.schemas.effect import DryRunOut

__all__ = ["router"]

router = APIRouter(tags=["access"], route_class=JsonRoute)


@router.get(
    ACCESS,
    operation_id="getAccess",
    summary="Show a VIP's access list",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422),
)
async def get_access(vip: VipRef, answers: AnswersOf, response: Response) -> AccessOut:
    """Show the sources that a VIP accepts packets from. The ETag is that of the VIP."""
    return await _shown(answers.access(vip), response)


@router.put(
    ACCESS,
    operation_id="putAccess",
    summary="Set a VIP's access list",
    openapi_extra=needs(Role.ADMIN),
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def put_access(
    vip: VipRef, body: AccessIn, change: Change, answers: AnswersOf, response: Response
) -> AccessOut | DryRunOut:
    """Replace the access list with the body. Packets that it denies are dropped and counted as `denied`."""
    key = answers.key(vip)
    outcome = await change.make(PutAccess(key, await _parsed(body.allow, body.deny, key.address.version)))
    return (
        effect(outcome, change) if change.tells_effect else await _shown(answers.access_after(outcome, key), response)
    )


@router.patch(
    ACCESS,
    operation_id="patchAccess",
    summary="Replace a part of a VIP's access list",
    openapi_extra=needs(Role.ADMIN),
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def patch_access(
    vip: VipRef, body: AccessPatch, change: Change, answers: AnswersOf, response: Response
) -> AccessOut | DryRunOut:
    """Replace the lists in the body (JSON merge patch): `allow`, `deny` or both."""
    key, changes = answers.key(vip), body.changes()
    access = await _parsed(changes.get("allow") or (), changes.get("deny") or (), key.address.version)
    allow = access.allow if "allow" in changes else None
    deny = access.deny if "deny" in changes else None
    outcome = await change.make(PatchAccess(key, allow, deny))
    return (
        effect(outcome, change) if change.tells_effect else await _shown(answers.access_after(outcome, key), response)
    )


@router.delete(
    ACCESS,
    operation_id="deleteAccess",
    summary="Remove a VIP's access list",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Role.ADMIN),
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def delete_access(vip: VipRef, change: Change, answers: AnswersOf) -> Response:
    """Accept packets from any source. It is not an error if there is no list."""
    return await deleted(change, PutAccess(answers.key(vip), NO_ACCESS_LIST))


async def _parsed(allow: Sequence[str], deny: Sequence[str], family: int) -> AccessList:
    # In a thread: hundreds of thousands of prefixes take seconds, and other requests must not wait for them.
    return await asyncio.to_thread(AccessList.parse, allow, deny, family)


async def _shown(view: AccessView, response: Response) -> AccessOut:
    tag(response, view.generation)
    # In a thread: hundreds of thousands of prefixes take a second, and other requests must not wait for them.
    return await asyncio.to_thread(AccessOut.of, view)
