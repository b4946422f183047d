# SPDX-License-Identifier: Apache-2.0
"""The dependencies of routes: the control plane and its answers, and a way to make a change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Path, Query, Request, Response
from fastapi.dependencies.models import Dependant
from pydantic import WithJsonSchema

from xdplb.control.answers.answers import Answers
from xdplb.control.edits.edit import Edit
from xdplb.control.events import Actor
from xdplb.control.writing.request import Outcome
from xdplb.control.writing.request import Request as ChangeRequest
from xdplb.model.errors import FieldProblem, InvalidError, NotFoundError, PreconditionError
from xdplb.model.printable import word

from .control import Control
from .idempotency import IdempotencyKey
from .pages import is_json
from .peer import actor_of
from .rights.needs import may_edit
from .schemas.base import warning_headers
from .schemas.forms import ADDRESS, ENTITY_TAG, VIP_REF
from .unambiguous import FLAG

__all__ = [
    "AddressRef",
    "AnswersOf",
    "Change",
    "Changer",
    "ClearOverlayFlag",
    "ControlOf",
    "DryRunFlag",
    "NewChange",
    "VipRef",
    "json_only",
    "known_query",
]

_ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')
_IN_PATH = {"/key": "/path/vip", "/address": "/path/address"}
_GENERATION = re.compile(r"0|[1-9][0-9]{0,17}")  # tags are compared as texts (RFC 9110, 8.8.3.2): "007" is not "7"


async def _control(request: Request) -> Control:
    control: Control = request.app.state.control
    return control


async def _answers(request: Request) -> Answers:
    control: Control = request.app.state.control
    return control.answers


ControlOf = Annotated[Control, Depends(_control)]
AnswersOf = Annotated[Answers, Depends(_answers)]

VipRef = Annotated[
    str,
    Path(
        description="The VIP: `ADDRESS:PORT:PROTOCOL` or its name. An IPv6 address is written in brackets, a "
        "prefix as `203.0.113.0_24`, a range of ports `8000-8999`, all ports `0`.",
        examples=["203.0.113.10:443:tcp"],
    ),
    WithJsonSchema(VIP_REF),
]
AddressRef = Annotated[str, Path(description="The backend's address.", examples=["10.0.0.11"]), WithJsonSchema(ADDRESS)]
DryRunFlag = Annotated[
    bool, Query(description="Only return what would change (200), after all checks. Changes nothing."), FLAG
]

ClearOverlayFlag = Annotated[
    bool,
    Query(description="Also end, in the same step, what operators have laid over the config file."),
    FLAG,
]

ImpactFlag = Annotated[
    bool,
    Query(description="Make the change, and answer as to a dry run (200): with what it does to traffic, as data."),
    FLAG,
]


@dataclass(frozen=True, slots=True)
class Changer:
    """Makes changes with the parameters of a request: who asks, the expected generation, and `dry_run`.

    `response` has the headers that the answer gets, whatever its body is.
    """

    control: Control
    response: Response
    actor: Actor
    if_match: int | None
    dry_run: bool
    impact: bool

    @property
    def tells_effect(self) -> bool:
        """Whether the answer is the effect of the change and not what it is about."""
        return self.dry_run or self.impact

    async def make(self, edit: Edit) -> Outcome:
        """Make a change, give the answer its warnings, and return the outcome; raises what Control.change raises.

        ForbiddenError if who asks may not make it: that depends on what is changed, not only on the route.
        """
        may_edit(self.actor, edit)
        request = ChangeRequest(edit=edit, actor=self.actor, if_match=self.if_match, dry_run=self.dry_run)
        try:
            outcome = await self.control.change(request)
        except NotFoundError as error:
            # Removed since the path was looked up: what the edit names is what the path names.
            error.problems = tuple(
                FieldProblem(_IN_PATH.get(problem.pointer, problem.pointer), problem.detail)
                for problem in error.problems
            )
            raise
        self.response.headers.update(warning_headers(outcome))
        return outcome


async def _new_change(
    request: Request,
    response: Response,
    control: ControlOf,
    *,
    dry_run: DryRunFlag = False,
    impact: ImpactFlag = False,
    idempotency_key: IdempotencyKey = None,  # noqa: ARG001 - read before: see Idempotency
) -> Changer:
    return Changer(control, response, actor_of(request), None, dry_run, impact)


async def _change(
    request: Request,
    response: Response,
    control: ControlOf,
    *,
    if_match: Annotated[
        str | None,
        Header(description="The `ETag` it must still have; 412 if it has changed since.", examples=['"7"']),
        WithJsonSchema(ENTITY_TAG),
    ] = None,
    dry_run: DryRunFlag = False,
    impact: ImpactFlag = False,
    idempotency_key: IdempotencyKey = None,  # noqa: ARG001 - read before: see Idempotency
) -> Changer:
    expected = None if if_match is None else _generation(if_match)
    return Changer(control, response, actor_of(request), expected, dry_run, impact)


NewChange = Annotated[Changer, Depends(_new_change)]
"""A change that adds something, and so has no `If-Match`: there is nothing yet to match."""

Change = Annotated[Changer, Depends(_change)]


def _generation(if_match: str) -> int:
    """Return the generation in an If-Match header; PreconditionError if it cannot be an ETag of this API."""
    tag = _ENTITY_TAG.fullmatch(if_match.strip())
    if tag is None:
        raise InvalidError.field(
            "/header/If-Match", f"{if_match!r} is not one entity tag", hint='send the ETag of a GET, such as "7"'
        )
    weak, generation = tag.groups()
    if weak or not _GENERATION.fullmatch(generation):
        raise PreconditionError(
            f"If-Match {if_match} is not an ETag of this API",
            hint="read it again and send the ETag of that answer",
            problems=(FieldProblem("/header/If-Match", "it matches no generation"),),
        )
    return int(generation)


async def known_query(request: Request) -> None:
    """Refuse unknown query parameters: ignoring a misspelled `dry_rum=true` would make the change for real."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    known = set() if dependant is None else set(_query_names(dependant))
    for name in request.query_params:
        if name not in known:
            raise InvalidError.field(
                f"/query/{name}", f"{name!r} is not a parameter of this request", hint="see /openapi.json"
            )


def _query_names(dependant: Dependant) -> Iterator[str]:
    """Yield the query parameters of a route and of its dependencies."""
    yield from (field.alias for field in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _query_names(dependency)


async def json_only(request: Request) -> None:
    """Refuse a body whose content type is not JSON. This also stops the requests that any web page can send."""
    if not await request.body():
        return
    given = request.headers.get("content-type", "")
    if not is_json(given):
        kind = given.partition(";")[0].strip()
        raise HTTPException(415, f"a body of type {word(kind, 60) if kind else 'unknown'} is not accepted")
