# SPDX-License-Identifier: Apache-2.0
"""The role that a route needs: it stands beside the route, and a route without one is for admins only."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from xdplb.control.edits.edit import Edit
from xdplb.control.edits.rights import role_for
from xdplb.control.events import Actor
from xdplb.model.role import Role
from xdplb_api.peer import actor_of

from .forbidden import ForbiddenError

__all__ = ["NEEDS", "may_edit", "needs", "permitted", "role_needed"]

NEEDS = "x-xdplb-role"
"""The field of the OpenAPI document that says which role an operation needs."""


def needs(role: Role) -> dict[str, Any]:
    """Return what a route gets as its `openapi_extra` so that only peers with this role may use it."""
    return {NEEDS: role.value}


def role_needed(route: object) -> Role:
    """Return the role that a route needs."""
    return Role((getattr(route, "openapi_extra", None) or {}).get(NEEDS, Role.ADMIN))


async def permitted(request: Request) -> None:
    """Refuse a request whose peer does not have the role that the route needs."""
    _require(actor_of(request), role_needed(request.scope.get("route")), "this request")


def may_edit(actor: Actor, edit: Edit) -> None:
    """Raise ForbiddenError if this peer may not make the change, whichever route it came by."""
    _require(actor, role_for(edit), "this change")


def _require(actor: Actor, role: Role, what: str) -> None:
    if actor.role is None or not actor.role.includes(role):
        raise ForbiddenError(actor, role, what)
