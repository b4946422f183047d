# SPDX-License-Identifier: Apache-2.0
"""The body that says who asks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xdplb.control.events import Actor, ActorKind
from xdplb.model.role import Role

from .base import ResponseBody

__all__ = ["WhoAmIOut"]


class WhoAmIOut(ResponseBody):
    """Who asks."""

    role: Role = Field(description="What it may do.")
    kind: Literal["unix", "tcp"] = Field(description="Where it came from: the Unix socket, or TCP.")
    user: str | None = Field(description="On the Unix socket: the name of the process's user.", examples=["root"])
    token: str | None = Field(description="On TCP: the name of its token.", examples=["ci"])
    certificate: str | None = Field(description="On TCP: the subject of its certificate.", examples=["CN=anna,O=ops"])

    @classmethod
    def of(cls, actor: Actor) -> WhoAmIOut:
        """Return the body for a peer that was let in."""
        assert actor.role is not None
        kind: Literal["unix", "tcp"] = "unix" if actor.kind is ActorKind.UNIX else "tcp"
        return cls(role=actor.role, kind=kind, user=actor.user, token=actor.token, certificate=actor.certificate)
