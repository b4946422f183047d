# SPDX-License-Identifier: Apache-2.0
"""VIPs."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from xdplb.control.answers.answers import Answers
from xdplb.control.edits.edit import CreateVip, DeleteVip, PatchVip, PutVip
from xdplb.control.writing.request import Outcome
from xdplb.model.errors import FieldProblem, InvalidError, NotFoundError
from xdplb.model.key import ALL_PORTS
from xdplb.model.role import Role
from xdplb.model.vip import Vip, VipKey
from xdplb_api.answers import DELETED, created_or_not, deleted, effect, problems, tag, warned
from xdplb_api.deps import AnswersOf, Change, Changer, NewChange, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import VIP, VIPS
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.effect import DryRunOut
from xdplb_api.schemas.vip import VipChangedOut, VipListOut, VipOut, VipParts, VipPatch, VipPost, VipPut, vips_out

__all__ = ["router"]

router = APIRouter(tags=["vips"], route_class=JsonRoute)


@router.get(
    VIPS, operation_id="listVips", summary="List the VIPs", openapi_extra=needs(Role.READ), responses=problems(422)
)
async def list_vips(answers: AnswersOf, response: Response) -> VipListOut:
    """Show all VIPs, sorted by address, port and protocol."""
    status = answers.status()
    tag(response, status.generation)
    return VipListOut(vips=vips_out(status.vips))


@router.post(
    VIPS,
    operation_id="createVip",
    summary="Add a VIP",
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {"description": "It already existed unchanged; or `dry_run`."},
        201: {"model": VipChangedOut, "description": "It was added; its URL is in `Location`."},
        **problems(400, 409, 413, 415, 422, 503),
    },
)
async def create_vip(
    body: VipPost, change: NewChange, answers: AnswersOf, response: Response
) -> VipChangedOut | DryRunOut:
    """Add a VIP, with its backends, check and access list if they are given.

    Its packets are dropped and counted until it has a usable backend.
    """
    vip = body.vip()
    edit = CreateVip(vip, **await _parts(body, vip.key))
    return _answer(await change.make(edit), vip.key, change, answers, response)


@router.get(
    VIP, operation_id="getVip", summary="Show a VIP", openapi_extra=needs(Role.READ), responses=problems(404, 422)
)
async def get_vip(vip: VipRef, answers: AnswersOf, response: Response) -> VipOut:
    """Show a VIP: its configuration and its status."""
    view = answers.vip(vip)
    tag(response, view.generation)
    return VipOut.of(view)


@router.put(
    VIP,
    operation_id="putVip",
    summary="Add or replace a VIP",
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {"description": "It is now as requested; or `dry_run`."},
        201: {"model": VipChangedOut, "description": "It was added; its URL is in `Location`."},
        **problems(400, 409, 412, 413, 415, 422, 503),
    },
)
async def put_vip(
    vip: VipRef, *, body: VipPut, change: Change, answers: AnswersOf, response: Response
) -> VipChangedOut | DryRunOut:
    """Add the VIP, or replace all of its settings with the body, all in one step.

    Backends, health check and access list are replaced if they are in the body, else they stay.
    """
    wanted = _wanted(vip, body, answers)
    edit = PutVip(wanted, **await _parts(body, wanted.key))
    return _answer(await change.make(edit), wanted.key, change, answers, response)


@router.patch(
    VIP,
    operation_id="patchVip",
    summary="Change some settings of a VIP",
    openapi_extra=needs(Role.ADMIN),
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def patch_vip(
    vip: VipRef, *, body: VipPatch, change: Change, answers: AnswersOf, response: Response
) -> VipChangedOut | DryRunOut:
    """Change the fields in the body (JSON merge patch). Address, ports and protocol of a VIP cannot change."""
    key = answers.key(vip)
    return _answer(await change.make(PatchVip(key, body.changes())), key, change, answers, response)


@router.delete(
    VIP,
    operation_id="deleteVip",
    summary="Remove a VIP",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Role.ADMIN),
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def delete_vip(vip: VipRef, change: Change, answers: AnswersOf) -> Response:
    """Remove a VIP with its backends, health check and access list. Its packets are then passed to the host."""
    return await deleted(change, DeleteVip(answers.key(vip)))


async def _parts(body: VipParts, key: VipKey) -> dict[str, Any]:
    # In a thread: hundreds of thousands of prefixes take seconds, and other requests must not wait for them.
    return await asyncio.to_thread(body.parts, key)


def _wanted(ref: str, body: VipPut, answers: Answers) -> Vip:
    """Return the VIP in `body`, which was sent to the path of `ref`."""
    settings = body.settings()
    if ":" in ref:
        return Vip(key=_agreed(_parsed(ref), body), **settings)
    if body.name not in {None, ref}:
        raise InvalidError.field(
            "/name", f"name is {body.name} in the body and {ref} in the path", hint="use PATCH to change a name"
        )
    try:
        key = _agreed(answers.key(ref), body)
    except NotFoundError:
        key = _key(body)
    return Vip(key=key, **{**settings, "name": ref})


def _parsed(ref: str) -> VipKey:
    """Return the key in a path. InvalidError points there."""
    try:
        return VipKey.parse(ref)
    except InvalidError as error:
        raise InvalidError.field("/path/vip", error.detail, hint=error.hint) from None


def _agreed(key: VipKey, body: VipPut) -> VipKey:
    """Return `key` if the same fields in `body`, where given, agree with it."""
    known = {
        "address": key.addresses_text,
        "port": key.port,
        "last_port": key.last_port,
        "protocol": key.protocol,
    }
    all_ports = (body.port, body.last_port) == (ALL_PORTS[0], ALL_PORTS[-1])
    said = {"port": 0, "last_port": 0} if all_ports else {}
    for field, value in known.items():
        sent = said.get(field, getattr(body, field))
        if sent is not None and sent != value:
            raise InvalidError.field(
                f"/{field}",
                f"{field} is {sent} in the body and {value} for the VIP in the path",
                hint="address, port and protocol cannot change: add another VIP",
            )
    return key


def _key(body: VipPut) -> VipKey:
    """Return the key in `body`, which must be complete."""
    if body.address is None or body.port is None or body.protocol is None:
        missing = [field for field in ("address", "port", "protocol") if getattr(body, field) is None]
        raise InvalidError(
            f"there is no VIP with that name, and {missing[0]} is missing",
            hint="to add a VIP by its name, give address, port and protocol",
            problems=tuple(FieldProblem(f"/{field}", f"{field} is missing") for field in missing),
        )
    return VipKey.of(body.address, body.port, body.protocol, body.last_port)


def _answer(
    outcome: Outcome, key: VipKey, change: Changer, answers: Answers, response: Response
) -> VipChangedOut | DryRunOut:
    if change.tells_effect:
        return effect(outcome, change)
    view = answers.vip_after(outcome, key)
    is_new = key not in outcome.before.vips
    created_or_not(response, view.generation, created=is_new, location=f"/v1/vips/{key.path}")
    return warned(VipChangedOut.of(view), outcome)
