# SPDX-License-Identifier: Apache-2.0
"""The version of the daemon."""

from __future__ import annotations

from fastapi import APIRouter, Request

from xdplb.dataplane.versions import layout_name
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.system import VersionOut

__all__ = ["router"]

router = APIRouter(tags=["version"])


@router.get(
    "/version",
    operation_id="getVersion",
    summary="Show the version",
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def get_version(request: Request) -> VersionOut:
    """Show the versions of the daemon, of its BPF maps and of this API."""
    return VersionOut(version=request.app.version, commit=request.app.state.commit, map_layout=layout_name())
