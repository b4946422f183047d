# SPDX-License-Identifier: Apache-2.0
"""A backup of the state."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import ControlOf
from xdplb_api.rights.needs import needs

__all__ = ["router"]

router = APIRouter(tags=["dataplane"])

MEDIA_TYPE = "application/vnd.sqlite3"


class BackupResponse(Response):
    """A backup: a SQLite database. It is for no cache, since it has all that was configured."""

    media_type = MEDIA_TYPE


@router.get(
    "/backup",
    operation_id="getBackup",
    summary="Get a backup of the state",
    response_class=BackupResponse,
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {
            "description": "A SQLite database, for `xdplb up --restore`.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(422, 503),
    },
)
async def get_backup(control: ControlOf) -> BackupResponse:
    """Get the state as it is at one moment: all that was asked for, the ids, and the last known health."""
    headers = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="xdplb.backup"'}
    return BackupResponse(await control.backup(), headers=headers)
