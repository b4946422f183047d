"""The backends of a VIP."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.control.answers.views import BackendView, DryRun
from xdplb.model.address import parse_address
from xdplb.model.backend import Backend
from xdplb.model.errors import InvalidError
from xdplb_api.answers import DELETED, created_or_not, deleted, problems, tag
from xdplb_api.deps import AddressRef, Change, DryRunFlag, ManagerOf, VipRef
from xdplb_api.paths import BACKEND, BACKENDS
from xdplb_api.schemas.backend import BackendIn, BackendListOut, BackendOut, BackendPatch, BackendPut, BackendsPut
from xdplb_api.schemas.base import DryRunOut

__all__ = ["router"]

router = APIRouter(tags=["backends"])


@router.get(BACKENDS, operation_id="listBackends", summary="List the backends of a VIP", responses=problems(404, 422))
async def list_backends(vip: VipRef, manager: ManagerOf, response: Response) -> BackendListOut:
    """Show the backends of a VIP, by address. The ETag is that of the VIP, for a PUT of the set."""
    tag(response, manager.vip(vip).generation)
    return BackendListOut.of(manager.backends(vip))


@router.post(
    BACKENDS,
    operation_id="createBackend",
    summary="Add a backend",
    responses={
        200: {"description": "It was there already, the same; or `dry_run`."},
        201: {"model": BackendOut, "description": "It was added; `Location` says where it is."},
        **problems(400, 404, 409, 413, 415, 422, 503),
    },
)
async def create_backend(
    vip: VipRef,
    body: BackendIn,
    manager: ManagerOf,
    response: Response,
    dry_run: DryRunFlag = False,
) -> BackendOut | DryRunOut:
    """Add a backend. With a health check it takes no connection before the first pass."""
    outcome = await manager.create_backend(vip, body.backend(), dry_run=dry_run)
    return _answer(outcome, response, manager, vip)


@router.put(
    BACKENDS,
    operation_id="replaceBackends",
    summary="Replace all backends of a VIP",
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def replace_backends(
    vip: VipRef, body: BackendsPut, change: Change, manager: ManagerOf, response: Response
) -> BackendListOut | DryRunOut:
    """Put this set in place of the one there is, in one step. Backends in both keep their connections."""
    outcome = await manager.replace_backends(vip, body.wanted(), if_match=change.if_match, dry_run=change.dry_run)
    if isinstance(outcome, DryRun):
        return DryRunOut.of(outcome)
    # Both as they are now: an ETag that is newer than the body would let the next PUT undo what nobody has seen.
    tag(response, manager.vip(vip).generation)
    return BackendListOut.of(manager.backends(vip))


@router.get(BACKEND, operation_id="getBackend", summary="Show a backend", responses=problems(404, 422))
async def get_backend(vip: VipRef, address: AddressRef, manager: ManagerOf, response: Response) -> BackendOut:
    """Show a backend: what was asked for, and how it is."""
    view = manager.backend(vip, address)
    tag(response, view.generation)
    return BackendOut.of(view)


@router.put(
    BACKEND,
    operation_id="putBackend",
    summary="Add or replace a backend",
    responses={
        200: {"description": "It is as asked; or `dry_run`."},
        201: {"model": BackendOut, "description": "It was added; `Location` says where it is."},
        **problems(400, 404, 409, 412, 413, 415, 422, 503),
    },
)
async def put_backend(
    vip: VipRef, address: AddressRef, *, body: BackendPut, change: Change, manager: ManagerOf, response: Response
) -> BackendOut | DryRunOut:
    """Make a backend be as the body says, whole."""
    wanted = _wanted(address, body)
    outcome = await manager.put_backend(vip, wanted, if_match=change.if_match, dry_run=change.dry_run)
    return _answer(outcome, response, manager, vip)


@router.patch(
    BACKEND,
    operation_id="patchBackend",
    summary="Change some settings of a backend",
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def patch_backend(
    vip: VipRef, address: AddressRef, *, body: BackendPatch, change: Change, manager: ManagerOf, response: Response
) -> BackendOut | DryRunOut:
    """Change what the body names (JSON merge patch): its weight, how packets reach it, what is asked of it."""
    outcome = await manager.patch_backend(
        vip, address, body.changes(), if_match=change.if_match, dry_run=change.dry_run
    )
    return _answer(outcome if isinstance(outcome, DryRun) else (outcome, False), response, manager, vip)


@router.delete(
    BACKEND,
    operation_id="deleteBackend",
    summary="Remove a backend",
    status_code=204,
    response_class=Response,
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def delete_backend(vip: VipRef, address: AddressRef, change: Change, manager: ManagerOf) -> Response:
    """Remove a backend at once, with its connections. Drain it first to keep them."""
    return deleted(await manager.delete_backend(vip, address, if_match=change.if_match, dry_run=change.dry_run))


def _wanted(address: str, body: BackendPut) -> Backend:
    """Return the backend that `body`, sent to the path of `address`, asks for."""
    parsed = parse_address(address, "/path/address")
    if body.address is not None and body.address != parsed:
        raise InvalidError.field(
            "/address",
            f"address is {body.address} in the body and {parsed} in the path",
            hint="a backend keeps its address: add another one",
        )
    return body.at(parsed)


def _answer(
    outcome: DryRun | tuple[BackendView, bool], response: Response, manager: ManagerOf, vip: str
) -> BackendOut | DryRunOut:
    if isinstance(outcome, DryRun):
        return DryRunOut.of(outcome)
    view, created = outcome
    location = f"/v1/vips/{manager.vip(vip).vip.key.path}/backends/{view.backend.address}"
    created_or_not(response, view.generation, created=created, location=location)
    return BackendOut.of(view)
