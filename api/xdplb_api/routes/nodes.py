# SPDX-License-Identifier: Apache-2.0
"""The nodes: the balancers that serve the same VIPs. Only the one that is asked can be drained."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from fastapi.responses import JSONResponse

from xdplb.control.answers.answers import Answers
from xdplb.control.answers.views import NodeView
from xdplb.control.events import Actor
from xdplb.model.errors import ConflictError
from xdplb.model.node import SeenState
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf, ControlOf, DryRunFlag, VipRef
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import VIP_NODES
from xdplb_api.peer import actor_of
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.node import NodeDrainIn, NodeDryRunOut, NodeListOut, NodeOfVipOut, NodeOut, NodesOfVipOut

__all__ = ["router"]

NODES = "/nodes"
NODE = f"{NODES}/{{name}}"
NODE_DRAIN = f"{NODE}/drain"

router = APIRouter(tags=["nodes"], route_class=JsonRoute)

ActorOf = Annotated[Actor, Depends(actor_of)]
NodeName = Annotated[str, Path(description="The node's name.", examples=["lb1"])]

_DRY_RUN = {"model": NodeDryRunOut, "description": "With `dry_run`: what would change."}


@router.get(
    NODES,
    operation_id="listNodes",
    summary="List the nodes",
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def list_nodes(answers: AnswersOf) -> NodeListOut:
    """Show the nodes that this one knows, itself first."""
    return NodeListOut(nodes=[NodeOut.of(view) for view in answers.nodes()])


@router.get(
    NODE,
    operation_id="getNode",
    summary="Show a node",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422),
)
async def get_node(name: NodeName, answers: AnswersOf) -> NodeOut:
    """Show one node."""
    return NodeOut.of(answers.node(name))


@router.get(
    VIP_NODES,
    operation_id="listNodesOfVip",
    summary="Show what the nodes say of a VIP",
    openapi_extra=needs(Role.READ),
    responses=problems(404, 422),
)
async def list_nodes_of_vip(vip: VipRef, answers: AnswersOf) -> NodesOfVipOut:
    """Show which generation of a VIP each node has, and how healthy it sees each backend.

    That is for the eye: each node sends packets by what it sees itself. Other nodes tell it by the store.
    """
    return NodesOfVipOut(
        generation=answers.vip(vip).generation, nodes=[NodeOfVipOut.of(view) for view in answers.nodes_of_vip(vip)]
    )


@router.post(
    NODE_DRAIN,
    operation_id="drainNode",
    summary="Drain a node",
    status_code=202,
    response_model=NodeOut,
    openapi_extra=needs(Role.OPERATE),
    responses={
        200: _DRY_RUN,
        202: {"description": "Nothing more is asked for; its progress is in `state` and `drain`."},
        **problems(400, 404, 409, 413, 415, 422, 503),
    },
)
async def drain_node(
    name: NodeName,
    control: ControlOf,
    answers: AnswersOf,
    actor: ActorOf,
    *,
    body: NodeDrainIn | None = None,
    dry_run: DryRunFlag = False,
) -> NodeOut | Response:
    """Take this node out of service, before maintenance. It stays drained over restarts, until the drain is ended.

    VIPs are announced with metric 100, so that routers prefer other nodes, and `/readyz` answers 503. When no packet
    for a VIP has come for the quiet time, or at the timeout, they are announced no more. What still comes is forwarded.
    """
    view = _this(answers, name)
    if dry_run:
        return _would("" if view.state is SeenState.DRAINED else f"node {view.name} is draining")
    times = body or NodeDrainIn()
    await control.drain_node(times.timeout_seconds, times.quiet(), actor)
    return NodeOut.of(answers.node(name))


@router.delete(
    NODE_DRAIN,
    operation_id="undrainNode",
    summary="End the drain of a node",
    openapi_extra=needs(Role.OPERATE),
    response_model=NodeOut | NodeDryRunOut,
    responses=problems(404, 409, 422, 503),
)
async def undrain_node(
    name: NodeName, control: ControlOf, answers: AnswersOf, actor: ActorOf, *, dry_run: DryRunFlag = False
) -> NodeOut | Response:
    """Let this node serve again."""
    view = _this(answers, name)
    if dry_run:
        return _would("" if view.state is SeenState.SERVING else f"node {view.name} serves again")
    await control.undrain_node(actor)
    return NodeOut.of(answers.node(name))


def _this(answers: Answers, name: str) -> NodeView:
    """Return the view of the node that is asked; ConflictError if `name` is another one's."""
    view = answers.node(name)
    if not view.is_this:
        this = answers.nodes()[0].name
        raise ConflictError(
            f"node {name} is drained by its own API, and this is that of {this}",
            hint=f"ask {name} itself: xdplb --url {view.status.url or 'URL'} node drain",
        )
    return view


def _would(change: str) -> Response:
    return JSONResponse(NodeDryRunOut.of(change).model_dump(mode="json"))
