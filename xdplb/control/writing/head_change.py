# SPDX-License-Identifier: Apache-2.0
"""What the head of the store says of the change that made it: who asked for what, and on which balancer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from xdplb.cluster.repository import Json
from xdplb.control.edits.edit import backend_of_edit, kind_of, vip_of_edit
from xdplb.control.events import Actor, ActorKind, ChangeMade
from xdplb.control.writing.request import Outcome, Request

__all__ = ["change_in_head", "event_of_head"]

_STORE = "store"
"""In the place of an edit's kind: what a balancer writes by itself, or several changes at once."""


def change_in_head(node: str, request: Request | None) -> dict[str, object]:
    """Return what the head says of a change that this node writes; without a request, nobody has asked for it."""
    vip = None if request is None else vip_of_edit(request.edit)
    backend = None if request is None else backend_of_edit(request.edit)
    return {
        "writer": node,
        "change": {
            "edit": _STORE if request is None else kind_of(request.edit),
            "vip": None if vip is None else str(vip),
            "backend": None if backend is None else str(backend),
            "actor": {} if request is None else request.actor.data(),
        },
    }


def event_of_head(head: Json, *, is_one: bool) -> Callable[[Outcome], ChangeMade]:
    """Return what tells of a change that another balancer has made; of several, the head says too little."""
    told = head.get("change") if is_one else None
    change: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    node, asked_by = str(head.get("writer", "")), change.get("actor")
    actor = Actor(ActorKind.NODE, node=node)
    if isinstance(asked_by, Mapping) and asked_by:
        actor = Actor.of_node(node, asked_by)
    vip, backend = change.get("vip"), change.get("backend")

    def event(outcome: Outcome) -> ChangeMade:
        return ChangeMade(
            actor=actor,
            generation=outcome.generation,
            edit=str(change.get("edit", _STORE)),
            vip=None if vip is None else str(vip),
            backend=None if backend is None else str(backend),
            asked=None,
            impact=outcome.impact,
            at=time.time_ns(),
        )

    return event
