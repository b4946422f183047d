# SPDX-License-Identifier: Apache-2.0
"""What another balancer must know of open connections: it is pulled when that one starts, or has missed something."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from xdplb.model.role import Role
from xdplb.peers.state import MEDIA_TYPE, encode_state
from xdplb_api.answers import problems
from xdplb_api.deps import ControlOf
from xdplb_api.rights.needs import needs

__all__ = ["RECORDS", "router"]

RECORDS = "/records"

router = APIRouter(tags=["nodes"])


class RecordsResponse(StreamingResponse):
    """Streams slots and records."""

    media_type = MEDIA_TYPE


@router.head(RECORDS, include_in_schema=False, openapi_extra=needs(Role.OPERATE))
async def describe_records() -> Response:
    """Answer without a look at the flow table."""
    return Response(media_type=MEDIA_TYPE)


@router.get(
    RECORDS,
    operation_id="pullRecords",
    summary="Pull records of connections",
    response_class=RecordsResponse,
    status_code=200,
    openapi_extra=needs(Role.OPERATE),
    responses={
        200: {
            "description": "Slots that move and records of connections, in the binary form that balancers know.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(415, 422, 503),
    },
)
async def pull_records(control: ControlOf) -> RecordsResponse:
    """Stream what a balancer that starts must know of the connections that go through this one.

    These are the slots that move, with the backend that each was taken from, and the records of connections where the
    slot does not tell the backend. They name clients. It is for other balancers: see docs/cluster.md.
    """
    return RecordsResponse(encode_state(await control.unsettled()))
