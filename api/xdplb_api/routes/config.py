# SPDX-License-Identifier: Apache-2.0
"""The whole configuration, and the overlay over what a config file declares."""

from __future__ import annotations

import asyncio
import json

from fastapi import APIRouter, Request, Response

from xdplb.control.answers.views import ConfigView
from xdplb.control.edits.edit import ClearOverlay, PutConfig
from xdplb.model.errors import XdplbError
from xdplb.model.role import Role
from xdplb_api.answers import DELETED, deleted, effect, problems, tag
from xdplb_api.deps import AddressRef, AnswersOf, Change, ClearOverlayFlag, ControlOf, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import BACKEND_OVERLAY, CONFIG, OVERLAY, RELOAD
from xdplb_api.peer import actor_of
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.config import Config, ConfigChangedOut, ConfigOut, OverlayListOut, overlay_of, shown
from xdplb_api.schemas.effect import DryRunOut

__all__ = ["router"]

router = APIRouter(tags=["config"], route_class=JsonRoute)


@router.get(
    CONFIG,
    operation_id="getConfig",
    summary="Show the whole configuration",
    response_model=ConfigOut,
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def get_config(answers: AnswersOf) -> Response:
    """Show all that is desired, as one document that can be sent back. The ETag is of all of it."""
    view = answers.config()
    # In a thread: tens of thousands of backends take a while, and other requests must not wait for them.
    response = Response(await asyncio.to_thread(_text, view), media_type="application/json")
    tag(response, view.generation)
    return response


@router.put(
    CONFIG,
    operation_id="putConfig",
    summary="Replace the whole configuration",
    openapi_extra=needs(Role.ADMIN),
    responses=problems(400, 409, 412, 413, 415, 422, 503),
)
async def put_config(
    body: Config, change: Change, answers: AnswersOf, response: Response, *, clear_overlay: ClearOverlayFlag = False
) -> ConfigChangedOut | DryRunOut:
    """Make the desired state what the body says, in one step: what is not in it is removed.

    What is equal stays untouched. Nothing changes if anything is refused. While a config file owns the configuration,
    a dry run tells what would change if the file said this, and the change itself is refused.
    """
    wanted = await asyncio.to_thread(body.wanted)
    owner = answers.truth().owner if change.dry_run else ""
    try:
        outcome = await change.make(PutConfig(wanted, owner, clear_overlay))
    except XdplbError as error:
        await asyncio.to_thread(body.refuse_with_all, error)
        raise
    if not change.dry_run:
        body.accepted(wanted)
    tag(response, outcome.generation)
    return effect(outcome, change) if change.tells_effect else ConfigChangedOut.of(outcome)


@router.post(
    RELOAD,
    operation_id="reloadConfig",
    summary="Read the config file again",
    openapi_extra=needs(Role.ADMIN),
    responses=problems(409, 415, 422, 503),
)
async def reload_config(
    control: ControlOf, request: Request, response: Response, *, clear_overlay: ClearOverlayFlag = False
) -> ConfigChangedOut:
    """Read the config file that owns the configuration again, as SIGHUP and `systemctl reload` do.

    A file that cannot be used is refused with its line, and what runs goes on.
    """
    outcome = await control.reload(actor_of(request), clear_overlay=clear_overlay)
    tag(response, outcome.generation)
    return ConfigChangedOut.of(outcome)


@router.get(
    OVERLAY,
    operation_id="getOverlay",
    summary="Show the overlay",
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def get_overlay(answers: AnswersOf) -> OverlayListOut:
    """Show where operators have laid another weight or admin state over what the config file says."""
    return OverlayListOut.model_validate({"overlay": overlay_of(answers.config())})


@router.delete(
    OVERLAY,
    operation_id="clearOverlay",
    summary="Clear the overlay",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Role.OPERATE),
    responses={**DELETED, **problems(412, 422, 503)},
)
async def clear_overlay(change: Change) -> Response:
    """Make all weights and admin states what the config file says."""
    return await deleted(change, ClearOverlay())


@router.delete(
    BACKEND_OVERLAY,
    operation_id="clearBackendOverlay",
    summary="Clear the overlay of a backend",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Role.OPERATE),
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def clear_backend_overlay(vip: VipRef, address: AddressRef, change: Change, answers: AnswersOf) -> Response:
    """Make the weight and the admin state of a backend what the config file says."""
    return await deleted(change, ClearOverlay(*answers.place(vip, address)))


def _text(view: ConfigView) -> bytes:
    return json.dumps(shown(view), separators=(",", ":")).encode()
