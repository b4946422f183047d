"""The parts of an answer that are the same for every noun."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from xdplb.control.edits.edit import Edit
from xdplb.control.writing.request import Outcome

from .deps import Changer
from .problems import MEDIA_TYPE
from .schemas.base import DryRunOut

__all__ = ["DELETED", "DRY_RUN", "created_or_not", "deleted", "problems", "tag", "would_change"]

_PROBLEMS = {
    400: "The body is not JSON.",
    404: "What the path names is not there.",
    409: "It is there already and is different, or there is no room for it.",
    412: "It was changed since the generation named by `If-Match`.",
    413: "The body is too large.",
    415: "The body does not say that it is JSON.",
    422: "A value that cannot be right; `errors` names the fields.",
    503: "The kernel or the host refused.",
}

DRY_RUN: dict[int | str, dict[str, Any]] = {
    200: {"model": DryRunOut, "description": "With `dry_run`: what would change."}
}
DELETED: dict[int | str, dict[str, Any]] = {**DRY_RUN, 204: {"description": "It is gone."}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of these statuses, each with a problem as its body."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in statuses}


def tag(response: Response, generation: int) -> None:
    """Give `response` the ETag of `generation`."""
    response.headers["ETag"] = f'"{generation}"'


def created_or_not(response: Response, generation: int, *, created: bool, location: str) -> None:
    """Finish the answer to a POST or PUT: 201 and where it is when it is new, its ETag in any case."""
    tag(response, generation)
    if created:
        response.status_code = 201
        response.headers["Location"] = location


def would_change(outcome: Outcome) -> Response:
    """Return the answer to a dry run, 200 whatever the status of the change itself."""
    return JSONResponse(DryRunOut.of(outcome).model_dump(mode="json"))


async def deleted(change: Changer, edit: Edit) -> Response:
    """Make a change that takes something away, and return the answer: 204 and nothing, or what it would do."""
    outcome = await change.make(edit)
    return would_change(outcome) if change.dry_run else Response(status_code=204)
