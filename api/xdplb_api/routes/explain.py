"""What would become of a packet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from xdplb.control.explain.question import PacketKind
from xdplb_api.answers import problems
from xdplb_api.deps import ManagerOf
from xdplb_api.schemas.explain import ExplainOut

__all__ = ["router"]

router = APIRouter(tags=["explain"])

Client = Annotated[
    str,
    Query(
        description="The client: address and port. An IPv6 address stands in brackets.", examples=["192.0.2.7:40000"]
    ),
]
Destination = Annotated[
    str,
    Query(
        description="Where the packet goes: the name or key of a VIP of one address and port (TCP, where it takes "
        "both), or any `ADDRESS:PORT/PROTOCOL`.",
        examples=["203.0.113.10:443/tcp"],
    ),
]
Packet = Annotated[
    PacketKind | None,
    Query(description="Which packet of its flow: `syn` or `established`, which is an ACK. TCP without it: `syn`."),
]
IfDown = Annotated[
    str | None, Query(description="The address of a backend that is taken for down. Only the model is asked then.")
]
Interface = Annotated[
    str | None, Query(description="The NIC that the packet comes in by; without it, the first one that xdplb is on.")
]


@router.get("/explain", operation_id="explain", summary="Explain a packet", responses=problems(404, 422, 503))
async def explain(
    manager: ManagerOf,
    client: Client,
    vip: Destination,
    *,
    packet: Packet = None,
    if_down: IfDown = None,
    interface: Interface = None,
) -> ExplainOut:
    """Say what would become of a packet and why, as the reference model and the program in the kernel see it.

    Nothing is sent, counted or recorded. The first question takes seconds: a program is compiled for it.
    """
    return ExplainOut.of(await manager.explainer.explain(client, vip, packet, if_down, interface))
