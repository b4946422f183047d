# SPDX-License-Identifier: Apache-2.0
"""The error of whoever lacks a right."""

from __future__ import annotations

from typing import ClassVar

from xdplb.control.events import Actor
from xdplb.model.errors import XdplbError
from xdplb.model.role import Role

__all__ = ["ForbiddenError"]


class ForbiddenError(XdplbError):
    """`actor` may not do this: `needed` is the role that it would need."""

    code = "forbidden"
    status: ClassVar[int] = 403

    def __init__(self, actor: Actor, needed: Role, what: str) -> None:
        has = f"yours is {actor.role}" if actor.role else "you have none"
        super().__init__(f"{what} needs the role {needed}, and {has}", hint=_HINTS.get(actor.kind, _HINTS["tcp"]))
        self.actor, self.needed = actor, needed


_HINTS = {
    "unix": "use sudo, or a group that has the role: xdplb up --socket-group ROLE=GROUP",
    "tcp": "use a token or a certificate that has the role: xdplb token add NAME --role ROLE",
}
