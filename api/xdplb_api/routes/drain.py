"""Draining a backend."""

from __future__ import annotations

from fastapi import APIRouter, Response

from xdplb.control.edits.edit import DrainBackend, UndrainBackend
from xdplb.model.role import Role
from xdplb_api.answers import effect, effect_answer, problems, tag, warned
from xdplb_api.deps import AddressRef, AnswersOf, Change, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import DRAIN
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.backend import BackendChangedOut, DrainIn
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
    """Send a backend no new connections and keep its open ones. They are kept even after the timeout."""
    times = body or DrainIn()
    key, known = answers.place(vip, address)
    outcome = await change.make(DrainBackend(key, known, times.timeout_seconds, times.quiet()))
    if change.tells_effect:
        return effect_answer(outcome, change)
    view = answers.backend_after(outcome, key, known)
    tag(response, view.generation)
    return warned(BackendChangedOut.of(view), outcome)


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
