# SPDX-License-Identifier: Apache-2.0
"""Draining a backend."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.control.edits.edit import DrainBackend, UndrainBackend
from xdplb.model.errors import NotFoundError
from xdplb.model.role import Role
from xdplb_api.answers import effect, effect_answer, problems, tag, warned
from xdplb_api.deps import AddressRef, AnswersOf, Change, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import DRAIN
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.backend import BackendChangedOut, DrainIn
from xdplb_api.schemas.certificate import CertificateOut
from xdplb_api.schemas.effect import DryRunOut

__all__ = ["router"]

router = APIRouter(tags=["drain"], route_class=JsonRoute)


@router.post(
    DRAIN,
    operation_id="drainBackend",
    summary="Drain a backend",
    status_code=202,
    response_model=BackendChangedOut,
    openapi_extra=needs(Role.OPERATE),
    responses={
        200: {"model": DryRunOut, "description": "With `dry_run`: what would change."},
        202: {"description": "It takes no new connections; its progress is in `status.drain` of the backend."},
        **problems(400, 404, 409, 412, 413, 415, 422, 503),
    },
)
async def drain_backend(
    vip: VipRef,
    address: AddressRef,
    *,
    answers: AnswersOf,
    response: Response,
    change: Change,
    body: DrainIn | None = None,
) -> BackendChangedOut | Response:
    """Send a backend no new connections and keep its open ones, even after the timeout unless they are to be cut."""
    times = body or DrainIn()
    key, known = answers.place(vip, address)
    edit = DrainBackend(key, known, times.timeout_seconds, times.quiet(), times.cut_at_deadline)
    outcome = await change.make(edit)
    if change.tells_effect:
        return effect_answer(outcome, change)
    view = answers.backend_after(outcome, key, known)
    tag(response, view.generation)
    return warned(BackendChangedOut.of(view), outcome)


@router.get(
    DRAIN,
    operation_id="getDrain",
    summary="Get the certificate of a drain",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422),
)
async def get_drain(vip: VipRef, address: AddressRef, *, answers: AnswersOf) -> CertificateOut:
    """Return what came of a backend's connections in its drain, or in its last one: also after it was undrained."""
    certificate = answers.backend(vip, address).certificate
    if certificate is None:
        raise NotFoundError(
            f"backend {address} of VIP {vip} has not been drained",
            hint="a certificate is kept until the next drain, or until the backend is removed",
        )
    return CertificateOut.of(certificate)


@router.delete(
    DRAIN,
    operation_id="undrainBackend",
    summary="End the drain of a backend",
    openapi_extra=needs(Role.OPERATE),
    responses=problems(404, 409, 412, 422, 503),
)
async def undrain_backend(
    vip: VipRef,
    address: AddressRef,
    *,
    change: Change,
    answers: AnswersOf,
    response: Response,
) -> BackendChangedOut | DryRunOut:
    """Send new connections to a drained or draining backend again."""
    key, known = answers.place(vip, address)
    outcome = await change.make(UndrainBackend(key, known))
    if change.tells_effect:
        return effect(outcome, change)
    view = answers.backend_after(outcome, key, known)
    tag(response, view.generation)
    return warned(BackendChangedOut.of(view), outcome)
