"""Packets as XDP saw and sent them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from xdplb.control.capture.capturer import RunningCapture
from xdplb.control.capture.wanted import MOST_SNAP_BYTES, CaptureRequest
from xdplb.dataplane.decisions import SNAP_BYTES
from xdplb_api.answers import problems
from xdplb_api.deps import ManagerOf

__all__ = ["router"]

ETHERNET_BYTES = 14
MOST_SAMPLE = 2**32 - 1
LONGEST_SECONDS = 366 * 24 * 3600

router = APIRouter(tags=["capture"])


class PcapngResponse(StreamingResponse):
    """The file of a capture as it comes; the capture ends with it, also where nobody has read a byte of it."""

    media_type = "application/x-pcapng"

    def __init__(self, capture: RunningCapture) -> None:
        super().__init__(capture.blocks())
        self._capture = capture

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._capture.close()


Vip = Annotated[
    str | None,
    Query(description="Only packets to this VIP, by name or key.", examples=["203.0.113.10:443/tcp"]),
]
Client = Annotated[
    str | None,
    Query(
        description="Only packets from this client: address, prefix, or address and port. Without a VIP, also those "
        "that are left to the host.",
        examples=["192.0.2.7:40000"],
    ),
]
Packets = Annotated[int | None, Query(ge=1, description="End after this many packets.")]
Seconds = Annotated[float | None, Query(gt=0, le=LONGEST_SECONDS, description="End after this time.")]
Sample = Annotated[int, Query(ge=1, le=MOST_SAMPLE, description="Capture one in this many packets, by chance.")]
Snaplen = Annotated[
    int, Query(ge=ETHERNET_BYTES, le=MOST_SNAP_BYTES, description="How many bytes of each frame are captured.")
]


@router.get(
    "/capture",
    operation_id="capture",
    summary="Capture packets",
    response_class=PcapngResponse,
    status_code=200,
    responses={
        200: {
            "description": "A pcapng file that grows as long as it is read.",
            "content": {PcapngResponse.media_type: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404, 409, 422, 503),
    },
)
async def capture(
    manager: ManagerOf,
    *,
    vip: Vip = None,
    client: Client = None,
    packets: Packets = None,
    seconds: Seconds = None,
    sample: Sample = 1,
    snaplen: Snaplen = SNAP_BYTES,
) -> PcapngResponse:
    """Hand out packets as XDP saw them, and as it sent them on, each with the decision as a comment.

    There is one capture at a time. It ends when the connection is closed, or after `packets` or `seconds`. Without a
    VIP and a client: all packets that VIPs have to do with. It takes seconds to begin: a program is compiled for it.
    """
    request = CaptureRequest(vip, client, packets, seconds, sample, snaplen)
    return PcapngResponse(await manager.capturer.start(request))
