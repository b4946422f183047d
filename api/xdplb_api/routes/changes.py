# SPDX-License-Identifier: Apache-2.0
"""Several edits in one step."""

from __future__ import annotations

import asyncio
import re

from fastapi import APIRouter, Response

from xdplb.model.errors import FieldProblem, XdplbError
from xdplb.model.role import Role
from xdplb_api.answers import effect, problems, tag
from xdplb_api.deps import AnswersOf, Change
from xdplb_api.json_body import JsonRoute
from xdplb_api.paths import CHANGES
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.changes import ChangesIn
from xdplb_api.schemas.config import ConfigChangedOut
from xdplb_api.schemas.effect import DryRunOut

__all__ = ["router"]

router = APIRouter(tags=["config"], route_class=JsonRoute)

_KEY = re.compile(r"^(/edits/[0-9]+)/key$")


@router.post(
    CHANGES,
    operation_id="makeChanges",
    summary="Make several changes in one step",
    openapi_extra=needs(Role.OPERATE),
    responses=problems(400, 404, 409, 412, 413, 415, 422, 503),
)
async def make_changes(
    body: ChangesIn, change: Change, answers: AnswersOf, response: Response
) -> ConfigChangedOut | DryRunOut:
    """Make these edits in this order, as one change: all of them, or none. `If-Match` is the ETag of `/v1/config`."""
    # In a thread: thousands of edits take a while, and other requests must not wait for them.
    batch = await asyncio.to_thread(body.batch, lambda ref: answers.key_of_any(ref, "/vip"))
    try:
        outcome = await change.make(batch)
    except XdplbError as error:
        error.problems = tuple(FieldProblem(_KEY.sub(r"\1/vip", one.pointer), one.detail) for one in error.problems)
        raise
    tag(response, outcome.generation)
    return effect(outcome, change) if change.tells_effect else ConfigChangedOut.of(outcome)
