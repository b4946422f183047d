# SPDX-License-Identifier: Apache-2.0
"""The parts of an answer that all resources share."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Response
from fastapi.responses import JSONResponse

from xdplb.control.edits.edit import Edit
from xdplb.control.writing.request import Outcome

from .deps import Changer
from .problems import MEDIA_TYPE
from .schemas.base import ResponseBody, warning_headers, warnings_of
from .schemas.effect import DryRunOut

__all__ = ["DELETED", "DRY_RUN", "created_or_not", "deleted", "effect", "effect_answer", "problems", "tag", "warned"]

Body = TypeVar("Body", bound=ResponseBody)

_PROBLEMS = {
    400: "The body is not JSON.",
    404: "What the path names does not exist.",
    409: "It exists with other settings, the data plane is full, or the same request is being worked on.",
    412: "It has changed since the generation in `If-Match`.",
    413: "The body is too large.",
    415: "The content type is not JSON, or what acts has no header that says it is not a web page's request.",
    422: "A value is wrong; `errors` names the fields.",
    503: "The kernel or the host refused.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of these statuses, each with a problem as its body."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in statuses}


DRY_RUN: dict[int | str, dict[str, Any]] = {
    200: {"model": DryRunOut, "description": "With `dry_run` or `impact`: what would change, or did."}
}
DELETED: dict[int | str, dict[str, Any]] = {**DRY_RUN, 204: {"description": "It was removed."}, **problems(409)}


def tag(response: Response, generation: int) -> None:
    """Give `response` the ETag of `generation`."""
    response.headers["ETag"] = f'"{generation}"'


def created_or_not(response: Response, generation: int, *, created: bool, location: str) -> None:
    """Finish the answer to a POST or PUT: 201 and `Location` if it is new, and always its ETag."""
    tag(response, generation)
    if created:
        response.status_code = 201
        response.headers["Location"] = location


def warned(body: Body, outcome: Outcome) -> Body:
    """Return the body of an answer to a change, with the warnings about it."""
    return body.model_copy(update={"warnings": warnings_of(outcome)})


def effect(outcome: Outcome, change: Changer) -> DryRunOut:
    """Return the body of the answer to a dry run, or to a change that asks for its effect, and set its headers."""
    change.response.status_code = 200
    if not change.dry_run:
        tag(change.response, outcome.generation)
    return DryRunOut.of(outcome, made=not change.dry_run)


def effect_answer(outcome: Outcome, change: Changer) -> Response:
    """Return the answer to a dry run, or to a change that asks for its effect, where another one has no such body."""
    body = effect(outcome, change).model_dump(mode="json", by_alias=True)
    return JSONResponse(body, headers=dict(change.response.headers.items()))


async def deleted(change: Changer, edit: Edit) -> Response:
    """Make a change that removes something, and return the answer: an empty 204, or 200 if it tells the effect."""
    outcome = await change.make(edit)
    if change.tells_effect:
        return effect_answer(outcome, change)
    return Response(status_code=204, headers=warning_headers(outcome))
