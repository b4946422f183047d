"""VIPs."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.control.answers.views import DryRun, VipView
from xdplb.control.manager import Manager
from xdplb.model.errors import FieldProblem, InvalidError, NotFoundError
from xdplb.model.key import ALL_PORTS
from xdplb.model.vip import Vip, VipKey
from xdplb_api.answers import DELETED, created_or_not, deleted, problems, tag
from xdplb_api.deps import Change, DryRunFlag, ManagerOf, VipRef
from xdplb_api.paths import VIP, VIPS
from xdplb_api.schemas.base import DryRunOut
from xdplb_api.schemas.vip import VipIn, VipListOut, VipOut, VipPatch, VipPut, vips_out

__all__ = ["router"]

router = APIRouter(tags=["vips"])


@router.get(VIPS, operation_id="listVips", summary="List the VIPs", responses=problems(422))
async def list_vips(manager: ManagerOf, response: Response) -> VipListOut:
    """Show all VIPs, by address, port and protocol."""
    status = manager.status()
    tag(response, status.generation)
    return VipListOut(vips=vips_out(status.vips))


@router.post(
    VIPS,
    operation_id="createVip",
    summary="Add a VIP",
    responses={
        200: {"description": "It was there already, the same; or `dry_run`."},
        201: {"model": VipOut, "description": "It was added; `Location` says where it is."},
        **problems(400, 409, 413, 415, 422, 503),
    },
)
async def create_vip(
    body: VipIn,
    manager: ManagerOf,
    response: Response,
    dry_run: DryRunFlag = False,
) -> VipOut | DryRunOut:
    """Add a VIP. Its packets are dropped, and counted, until it has a backend."""
    return _answer(await manager.create_vip(body.vip(), dry_run=dry_run), response)


@router.get(VIP, operation_id="getVip", summary="Show a VIP", responses=problems(404, 422))
async def get_vip(vip: VipRef, manager: ManagerOf, response: Response) -> VipOut:
    """Show a VIP: what was asked for, and how it is."""
    view = manager.vip(vip)
    tag(response, view.generation)
    return VipOut.of(view)


@router.put(
    VIP,
    operation_id="putVip",
    summary="Add or replace a VIP",
    responses={
        200: {"description": "It is as asked; or `dry_run`."},
        201: {"model": VipOut, "description": "It was added; `Location` says where it is."},
        **problems(400, 409, 412, 413, 415, 422, 503),
    },
)
async def put_vip(
    vip: VipRef, body: VipPut, change: Change, manager: ManagerOf, response: Response
) -> VipOut | DryRunOut:
    """Make a VIP be as the body says, whole. Its backends and its check stay."""
    wanted = _wanted(vip, body, manager)
    return _answer(await manager.put_vip(wanted, if_match=change.if_match, dry_run=change.dry_run), response)


@router.patch(
    VIP,
    operation_id="patchVip",
    summary="Change some settings of a VIP",
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def patch_vip(
    vip: VipRef, body: VipPatch, change: Change, manager: ManagerOf, response: Response
) -> VipOut | DryRunOut:
    """Change what the body names (JSON merge patch); the address, port and protocol of a VIP never change."""
    outcome = await manager.patch_vip(vip, body.changes(), if_match=change.if_match, dry_run=change.dry_run)
    return _answer(outcome if isinstance(outcome, DryRun) else (outcome, False), response)


@router.delete(
    VIP,
    operation_id="deleteVip",
    summary="Remove a VIP",
    status_code=204,
    response_class=Response,
    responses={**DELETED, **problems(404, 412, 422, 503)},
)
async def delete_vip(vip: VipRef, change: Change, manager: ManagerOf) -> Response:
    """Remove a VIP with its backends and its check. Its packets are passed to the host from then on."""
    return deleted(await manager.delete_vip(vip, if_match=change.if_match, dry_run=change.dry_run))


def _wanted(ref: str, body: VipPut, manager: Manager) -> Vip:
    """Return the VIP that `body`, sent to the path of `ref`, asks for."""
    settings = body.settings()
    if ":" in ref:
        return Vip(key=_agreed(VipKey.parse(ref), body), **settings)
    if body.name not in {None, ref}:
        raise InvalidError.field(
            "/name", f"the body names it {body.name}, the path {ref}", hint="PATCH changes a name; PUT does not"
        )
    try:
        key = _agreed(manager.vip(ref).vip.key, body)
    except NotFoundError:
        key = _key(body)
    return Vip(key=key, **{**settings, "name": ref})


def _agreed(key: VipKey, body: VipPut) -> VipKey:
    """Return `key` if what `body` says of it is the same."""
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
                hint="a VIP keeps its address, port and protocol: add another one",
            )
    return key


def _key(body: VipPut) -> VipKey:
    """Return the key in `body`, which has to be there whole."""
    if body.address is None or body.port is None or body.protocol is None:
        missing = [field for field in ("address", "port", "protocol") if getattr(body, field) is None]
        raise InvalidError(
            f"there is no VIP of that name yet, and {missing[0]} is missing",
            hint="to add it under its name, give address, port and protocol",
            problems=tuple(FieldProblem(f"/{field}", f"{field} is missing") for field in missing),
        )
    return VipKey.of(body.address, body.port, body.protocol, body.last_port)


def _answer(outcome: DryRun | tuple[VipView, bool], response: Response) -> VipOut | DryRunOut:
    if isinstance(outcome, DryRun):
        return DryRunOut.of(outcome)
    view, created = outcome
    created_or_not(response, view.generation, created=created, location=f"/v1/vips/{view.vip.key.path}")
    return VipOut.of(view)
