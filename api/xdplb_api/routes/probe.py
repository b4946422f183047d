# SPDX-License-Identifier: Apache-2.0
"""Probes that are run when somebody asks for them."""

from __future__ import annotations

from fastapi import APIRouter

from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import AddressRef, AnswersOf, ControlOf, VipRef
from xdplb_api.paths import PROBE, PROBE_BACKEND
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.probe import ProbesOut

__all__ = ["router"]

router = APIRouter(tags=["health checks"])


@router.post(
    PROBE,
    operation_id="probe",
    summary="Run the checks of all backends of a VIP once",
    openapi_extra=needs(Role.OPERATE),
    responses=problems(400, 404, 409, 415, 422, 503),
)
async def probe(vip: VipRef, answers: AnswersOf, control: ControlOf) -> ProbesOut:
    """Run all checks of each backend now, and show each step with its time. This changes no backend's health.

    At most 256 checks are run for one request, 32 at a time, and for four requests at a time (409).
    """
    key = answers.key(vip)
    return ProbesOut.of(key, await control.probe(key, None))


@router.post(
    PROBE_BACKEND,
    operation_id="probeBackend",
    summary="Run the checks of a backend once",
    openapi_extra=needs(Role.OPERATE),
    responses=problems(400, 404, 409, 415, 422, 503),
)
async def probe_backend(vip: VipRef, address: AddressRef, answers: AnswersOf, control: ControlOf) -> ProbesOut:
    """Run all checks of a backend now, and show each step with its time. This does not change its health."""
    key, known = answers.place(vip, address)
    return ProbesOut.of(key, await control.probe(key, known))
