# SPDX-License-Identifier: Apache-2.0
"""What would happen to a packet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import WithJsonSchema

from xdplb.control.explain.question import PacketKind
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import ControlOf
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.explain import ExplainOut
from xdplb_api.schemas.forms import ADDRESS, CLIENT, DESTINATION

__all__ = ["router"]

router = APIRouter(tags=["explain"])

Client = Annotated[
    str,
    Query(
        description="The client: address and port. An IPv6 address is written in brackets.",
        examples=["192.0.2.7:40000"],
    ),
    WithJsonSchema(CLIENT),
]
Destination = Annotated[
    str,
    Query(
        description="The destination: the name or key of a VIP with one address and port (a VIP of both protocols "
        "means TCP), or any `ADDRESS:PORT/PROTOCOL`.",
        examples=["203.0.113.10:443/tcp"],
    ),
    WithJsonSchema(DESTINATION),
]
Packet = Annotated[
    PacketKind | None,
    Query(description="Which packet of a TCP flow: `syn` (the default) or `established`, an ACK."),
]
IfDown = Annotated[
    str | None,
    Query(description="The address of a backend that is assumed to be down. Then only the model is asked."),
    WithJsonSchema(ADDRESS),
]
Interface = Annotated[
    str | None,
    Query(description="The NIC that the packet comes in by; by default the first that xdplb is attached to."),
]


@router.get(
    "/explain",
    operation_id="explain",
    summary="Explain a packet",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422, 503),
)
async def explain(
    control: ControlOf,
    client: Client,
    vip: Destination,
    *,
    packet: Packet = None,
    if_down: IfDown = None,
    interface: Interface = None,
) -> ExplainOut:
    """Show what would happen to a packet and why, according to the reference model and the program in the kernel.

    Nothing is sent, counted or recorded. The first question takes seconds: a program is compiled for it.
    """
    return ExplainOut.of(await control.explain(client, vip, packet, if_down, interface))
