# SPDX-License-Identifier: Apache-2.0
"""Packets as XDP saw and sent them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import WithJsonSchema
from starlette.types import Receive, Scope, Send

from xdplb.control.capture.wanted import MOST_SNAP_BYTES, CaptureRequest
from xdplb.dataplane.decisions import SNAP_BYTES
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.control import Capture
from xdplb_api.deps import ControlOf
from xdplb_api.peer import actor_of
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.forms import CAPTURED_CLIENT, DESTINATION
from xdplb_api.unambiguous import DECIMAL, WHOLE

__all__ = ["router"]

ETHERNET_BYTES = 14
MOST_SAMPLE = 2**32 - 1
LONGEST_SECONDS = 366 * 24 * 3600

router = APIRouter(tags=["capture"])


class PcapngResponse(StreamingResponse):
    """Streams the file of a capture. The capture ends with the response, even if nothing of it was read."""

    media_type = "application/x-pcapng"

    def __init__(self, capture: Capture) -> None:
        super().__init__(capture.blocks())
        self._capture = capture

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._capture.close()


@router.head("/capture", include_in_schema=False, openapi_extra=needs(Role.OPERATE))
async def describe_capture() -> Response:
    """Answer without a capture: the program is not recompiled for a question about headers."""
    return Response(media_type=PcapngResponse.media_type)


Vip = Annotated[
    str | None,
    Query(description="Only packets to this VIP, by name or key.", examples=["203.0.113.10:443/tcp"]),
    WithJsonSchema(DESTINATION),
]
Client = Annotated[
    str | None,
    Query(
        description="Only packets from this client: address, prefix, or address and port. Without a VIP, also those "
        "that are passed to the host.",
        examples=["192.0.2.7:40000"],
    ),
    WithJsonSchema(CAPTURED_CLIENT),
]
Packets = Annotated[int | None, Query(ge=1, description="End after this many packets."), WHOLE]
Seconds = Annotated[float | None, Query(gt=0, le=LONGEST_SECONDS, description="End after this many seconds."), DECIMAL]
Sample = Annotated[int, Query(ge=1, le=MOST_SAMPLE, description="Capture one in this many packets, at random."), WHOLE]
Snaplen = Annotated[
    int, Query(ge=ETHERNET_BYTES, le=MOST_SNAP_BYTES, description="Bytes captured of each frame."), WHOLE
]


@router.get(
    "/capture",
    operation_id="capture",
    summary="Capture packets",
    response_class=PcapngResponse,
    status_code=200,
    openapi_extra=needs(Role.OPERATE),
    responses={
        200: {
            "description": "A pcapng file, streamed until the capture ends.",
            "content": {PcapngResponse.media_type: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404, 409, 415, 422, 503),
    },
)
async def capture(
    asked: Request,
    control: ControlOf,
    *,
    vip: Vip = None,
    client: Client = None,
    packets: Packets = None,
    seconds: Seconds = None,
    sample: Sample = 1,
    snaplen: Snaplen = SNAP_BYTES,
) -> PcapngResponse:
    """Stream packets as XDP received them and as it sent them on, each with the decision as a comment.

    Only one capture can run at a time. It ends when the connection is closed, or after `packets` or `seconds`. Without
    `vip` and `client` it takes all packets that concern a VIP. It takes seconds to start: a program is compiled for it.
    """
    request = CaptureRequest(vip, client, packets, seconds, sample, snaplen)
    return PcapngResponse(await control.start_capture(request, actor_of(asked)))
