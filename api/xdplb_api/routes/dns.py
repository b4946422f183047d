# SPDX-License-Identifier: Apache-2.0
"""Names in DNS, and what a node that is gone has left there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from xdplb.model.errors import ConflictError
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import AnswersOf, ControlOf, DryRunFlag
from xdplb_api.json_body import JsonRoute
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.dns import DnsForgottenOut, DnsListOut, DnsNameOut

__all__ = ["router"]

NAMES = "/dns"
LEFT_BY = f"{NAMES}/nodes/{{node}}"

router = APIRouter(tags=["dns"], route_class=JsonRoute)


@router.get(
    NAMES,
    operation_id="listDnsNames",
    summary="List the names in DNS",
    openapi_extra=needs(Role.READ),
    responses=problems(422),
)
async def list_names(answers: AnswersOf) -> DnsListOut:
    """Show the names of VIPs and their addresses, as they were read last: a minute ago at most, if all is well."""
    return DnsListOut(names=[DnsNameOut.of(view) for view in answers.dns_names()])


@router.delete(
    LEFT_BY,
    operation_id="forgetNodeInDns",
    summary="Take out of DNS what a node has left",
    openapi_extra=needs(Role.OPERATE),
    responses=problems(409, 422, 503),
)
async def forget_node(
    node: Annotated[str, Path(description="The name of a node that is gone for good.", examples=["lb3"])],
    control: ControlOf,
    answers: AnswersOf,
    *,
    dry_run: DryRunFlag = False,
) -> DnsForgottenOut:
    """Take back the claims of a node that is gone for good, at all names of this node's VIPs.

    Addresses on which no other node has a claim go with them, but not the last one of a name.
    """
    if node == answers.nodes()[0].name:
        raise ConflictError(
            f"{node} is this node, which would put everything there again",
            hint="xdplb node drain takes its addresses out",
        )
    return DnsForgottenOut.of(await control.forget_in_dns(node, dry_run=dry_run))
