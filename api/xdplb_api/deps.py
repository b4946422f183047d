"""What routes need besides their body: the manager and its answers, and a way to make a change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Path, Query, Request
from fastapi.dependencies.models import Dependant

from xdplb.control.answers.answers import Answers
from xdplb.control.edits.edit import Edit
from xdplb.control.events import Actor
from xdplb.control.manager import Manager
from xdplb.control.writing.request import Outcome
from xdplb.control.writing.request import Request as ChangeRequest
from xdplb.model.errors import FieldProblem, InvalidError, PreconditionError

from .peer import actor_of

__all__ = [
    "AddressRef",
    "AnswersOf",
    "Change",
    "Changer",
    "ManagerOf",
    "NewChange",
    "VipRef",
    "json_only",
    "known_query",
]

_ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')
_GENERATION = re.compile(r"[0-9]{1,18}")


async def _manager(request: Request) -> Manager:
    manager: Manager = request.app.state.manager
    return manager


async def _answers(request: Request) -> Answers:
    manager: Manager = request.app.state.manager
    return manager.answers


ManagerOf = Annotated[Manager, Depends(_manager)]
AnswersOf = Annotated[Answers, Depends(_answers)]

VipRef = Annotated[
    str,
    Path(
        description="The VIP: `ADDRESS:PORT:PROTOCOL` or its name. An IPv6 address stands in brackets, a prefix is "
        "written `203.0.113.0_24`, a range of ports `8000-8999`, all ports `0`.",
        examples=["203.0.113.10:443:tcp"],
    ),
]
AddressRef = Annotated[str, Path(description="The backend's address.", examples=["10.0.0.11"])]
DryRunFlag = Annotated[bool, Query(description="Only say what would change (200), after all checks. Changes nothing.")]


@dataclass(frozen=True, slots=True)
class Changer:
    """Makes changes under what a request says of them: who asks, for real or not, and what must not have changed."""

    manager: Manager
    actor: Actor
    if_match: int | None
    dry_run: bool

    async def make(self, edit: Edit) -> Outcome:
        """Ask the manager for a change, and return what came of it; see Manager.change for what it raises."""
        request = ChangeRequest(edit=edit, actor=self.actor, if_match=self.if_match, dry_run=self.dry_run)
        return await self.manager.change(request)


async def _new_change(request: Request, manager: ManagerOf, dry_run: DryRunFlag = False) -> Changer:
    return Changer(manager, actor_of(request), None, dry_run)


async def _change(
    request: Request,
    manager: ManagerOf,
    if_match: Annotated[
        str | None,
        Header(description="The `ETag` it must still have; 412 when it was changed since.", examples=['"7"']),
    ] = None,
    dry_run: DryRunFlag = False,
) -> Changer:
    return Changer(manager, actor_of(request), None if if_match is None else _generation(if_match), dry_run)


NewChange = Annotated[Changer, Depends(_new_change)]
"""A change that adds something: there is nothing yet that could match."""

Change = Annotated[Changer, Depends(_change)]


def _generation(if_match: str) -> int:
    """Return the generation an If-Match header names; one that no ETag of ours can be raises PreconditionError."""
    tag = _ENTITY_TAG.fullmatch(if_match.strip())
    if tag is None:
        raise InvalidError.field(
            "/header/If-Match", f"{if_match!r} is not one entity tag", hint='send the ETag of a GET, such as "7"'
        )
    weak, generation = tag.groups()
    if weak or not _GENERATION.fullmatch(generation):
        raise PreconditionError(
            f"If-Match {if_match} is no ETag of this API",
            hint="read it again and send the ETag of that answer",
            problems=(FieldProblem("/header/If-Match", "it matches no generation"),),
        )
    return int(generation)


async def known_query(request: Request) -> None:
    """Refuse a query parameter that is not known: a `dry_rum=true` that is ignored would do what was not asked."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    known = set() if dependant is None else set(_query_names(dependant))
    for name in request.query_params:
        if name not in known:
            raise InvalidError.field(
                f"/query/{name}", f"{name!r} is not a parameter of this request", hint="see /openapi.json"
            )


def _query_names(dependant: Dependant) -> Iterator[str]:
    """Yield the query parameters that a route takes, its dependencies' too."""
    yield from (field.alias for field in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _query_names(dependency)


async def json_only(request: Request) -> None:
    """Refuse a body that does not say it is JSON; that also keeps out what a web page can send unasked."""
    if not await request.body():
        return
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not re.fullmatch(r"application/[a-z0-9.-]+\+json", media_type):
        raise HTTPException(415, f"a body of type {media_type or 'unknown'} is not accepted")
