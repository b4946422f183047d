# SPDX-License-Identifier: Apache-2.0
"""The backends of a VIP."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.control.answers.answers import Answers
from xdplb.control.edits.edit import CreateBackend, DeleteBackend, PatchBackend, PutBackend, ReplaceBackends
from xdplb.control.writing.request import Outcome
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend, parse_backend_address
from xdplb.model.errors import InvalidError
from xdplb.model.role import Role
from xdplb.model.vip import VipKey
from xdplb_api.answers import DELETED, created_or_not, deleted, effect, problems, tag, warned
from xdplb_api.deps import AddressRef, AnswersOf, Change, NewChange, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import ALL_BACKENDS, BACKEND, BACKENDS
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.backend import (
    AllBackendsOut,
    BackendChangedOut,
    BackendIn,
    BackendListChangedOut,
    BackendListOut,
    BackendOut,
    BackendPatch,
    BackendPut,
    BackendsPut,
)
from xdplb_api.schemas.effect import DryRunOut

__all__ = ["router"]

router = APIRouter(tags=["backends"], route_class=JsonRoute)


@router.get(
    ALL_BACKENDS,
    operation_id="listAllBackends",
    summary="List the backends of all VIPs",
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def list_all_backends(answers: AnswersOf) -> AllBackendsOut:
    """Show the backends of all VIPs, each with its VIP; sorted by VIP and address."""
    return AllBackendsOut.of(answers.all_backends())


@router.get(
    BACKENDS,
    operation_id="listBackends",
    summary="List the backends of a VIP",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422),
)
async def list_backends(vip: VipRef, answers: AnswersOf, response: Response) -> BackendListOut:
    """Show the backends of a VIP, sorted by address. The ETag is that of the VIP, for a PUT of the whole set."""
    view = answers.backends(vip)
    tag(response, view.generation)
    return BackendListOut.of(view)


@router.post(
    BACKENDS,
    operation_id="createBackend",
    summary="Add a backend",
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {"description": "It already existed unchanged; or `dry_run`."},
        201: {"model": BackendChangedOut, "description": "It was added; its URL is in `Location`."},
        **problems(400, 404, 409, 413, 415, 422, 503),
    },
)
async def create_backend(
    vip: VipRef, *, body: BackendIn, change: NewChange, answers: AnswersOf, response: Response
) -> BackendChangedOut | DryRunOut:
    """Add a backend. If the VIP has a health check, it takes no connections before the first pass."""
    key, wanted = answers.key(vip), body.backend()
    outcome = await change.make(CreateBackend(key, wanted))
    return effect(outcome, change) if change.tells_effect else _made(outcome, key, wanted.address, answers, response)


@router.put(
    BACKENDS,
    operation_id="replaceBackends",
    summary="Replace all backends of a VIP",
    openapi_extra=needs(Role.ADMIN),
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def replace_backends(
    vip: VipRef, *, body: BackendsPut, change: Change, answers: AnswersOf, response: Response
) -> BackendListChangedOut | DryRunOut:
    """Replace the set of backends in one step. Backends in both sets keep their connections."""
    key = answers.key(vip)
    outcome = await change.make(ReplaceBackends(key, tuple(body.wanted())))
    if change.tells_effect:
        return effect(outcome, change)
    view = answers.backends_after(outcome, key)
    tag(response, view.generation)
    return warned(BackendListChangedOut.of(view), outcome)


@router.get(
    BACKEND,
    operation_id="getBackend",
    summary="Show a backend",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422),
)
async def get_backend(vip: VipRef, address: AddressRef, answers: AnswersOf, response: Response) -> BackendOut:
    """Show a backend: its configuration and its status."""
    view = answers.backend(vip, address)
    tag(response, view.generation)
    return BackendOut.of(view)


@router.put(
    BACKEND,
    operation_id="putBackend",
    summary="Add or replace a backend",
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {"description": "It is now as requested; or `dry_run`."},
        201: {"model": BackendChangedOut, "description": "It was added; its URL is in `Location`."},
        **problems(400, 404, 409, 412, 413, 415, 422, 503),
    },
)
async def put_backend(
    vip: VipRef, address: AddressRef, *, body: BackendPut, change: Change, answers: AnswersOf, response: Response
) -> BackendChangedOut | DryRunOut:
    """Add the backend, or replace all of its settings with the body."""
    key, wanted = answers.key(vip), _wanted(address, body)
    outcome = await change.make(PutBackend(key, wanted))
    return effect(outcome, change) if change.tells_effect else _made(outcome, key, wanted.address, answers, response)


@router.patch(
    BACKEND,
    operation_id="patchBackend",
    summary="Change some settings of a backend",
    openapi_extra=needs(Role.OPERATE),
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def patch_backend(
    vip: VipRef, address: AddressRef, *, body: BackendPatch, change: Change, answers: AnswersOf, response: Response
) -> BackendChangedOut | DryRunOut:
    """Change the fields in the body (JSON merge patch), such as `weight`, `forward` or `admin_state`."""
    key, known = answers.place(vip, address)
    outcome = await change.make(PatchBackend(key, known, body.changes()))
    return effect(outcome, change) if change.tells_effect else _made(outcome, key, known, answers, response)


@router.delete(
    BACKEND,
    operation_id="deleteBackend",
    summary="Remove a backend",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Role.ADMIN),
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def delete_backend(vip: VipRef, address: AddressRef, change: Change, answers: AnswersOf) -> Response:
    """Remove a backend at once. Its connections break; drain it first to let them finish."""
    return await deleted(change, DeleteBackend(*answers.place(vip, address)))


def _wanted(address: str, body: BackendPut) -> Backend:
    """Return the backend in `body`, which was sent to the path of `address`."""
    parsed = parse_backend_address(address, "/path/address")
    if body.address is not None and body.address != parsed:
        raise InvalidError.field(
            "/address",
            f"address is {body.address} in the body and {parsed} in the path",
            hint="the address cannot change: add another backend",
        )
    return body.at(parsed)


def _made(outcome: Outcome, key: VipKey, address: IPAddress, answers: Answers, response: Response) -> BackendChangedOut:
    view = answers.backend_after(outcome, key, address)
    is_new = address not in outcome.before.vips[key].backends
    location = f"/v1/vips/{key.path}/backends/{address}"
    created_or_not(response, view.generation, created=is_new, location=location)
    return warned(BackendChangedOut.of(view), outcome)
