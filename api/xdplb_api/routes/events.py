# SPDX-License-Identifier: Apache-2.0
"""What has happened, and what happens."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import WithJsonSchema

from xdplb.control.events import KINDS, Level
from xdplb.control.history.wanted import Wanted
from xdplb.model.backend import parse_backend_address
from xdplb.model.errors import InvalidError
from xdplb.model.moment import ns_of_moment, parse_moment
from xdplb.model.numbers import whole_of
from xdplb.model.printable import quoted
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.control import Control
from xdplb_api.deps import ControlOf
from xdplb_api.event_stream import MEDIA_TYPE, EventStream, wants_stream
from xdplb_api.rights.needs import needs
from xdplb_api.schemas.event import EventsOut, page_body
from xdplb_api.schemas.forms import ADDRESS, DESTINATION, MOMENT
from xdplb_api.unambiguous import WHOLE

__all__ = ["router"]

MOST = 1000
DEFAULT = 100
MOST_ID = (1 << 63) - 1

router = APIRouter(tags=["events"])

Vip = Annotated[
    str | None,
    Query(description="Only about this VIP, by name or key; by its key also if it is gone.", examples=["web"]),
    WithJsonSchema(DESTINATION),
]
Backend = Annotated[str | None, Query(description="Only about the backend with this address."), WithJsonSchema(ADDRESS)]
Kinds = Annotated[
    Sequence[str],
    Query(description="Only of this kind; may be given several times.", examples=["health"]),
    WithJsonSchema({"type": "array", "items": {"enum": sorted(KINDS)}}),
]
LevelWord = Annotated[
    Literal["critical", "error", "warning", "notice", "info", "debug"] | None,
    Query(description="Only this serious or more so."),
]
Who = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Only what this actor did: `unix`, `file`, a token's name, an address, `uid=0`, `pid=4711`.",
        examples=["uid=0"],
    ),
]
MomentText = Annotated[
    str | None,
    Query(
        description="A moment: `1h` (an hour ago), `03:12` (the last one), `2026-11-28`, `2026-11-28T03:12:00Z`. "
        "Without a zone it is in UTC.",
        examples=["1h"],
    ),
    WithJsonSchema(MOMENT),
]
Cursor = Annotated[
    int | None,
    Query(ge=0, le=MOST_ID, description="Only after the event with this id; with `order=desc` only before it."),
    WHOLE,
]
LastEventId = Annotated[
    str | None,
    Header(description="Of a stream: go on after the event with this id.", examples=["1795886580017"]),
    WithJsonSchema({"type": "string", "pattern": "^(?:0|[1-9][0-9]{0,17})?$"}),
]


async def _wanted(
    control: ControlOf,
    *,
    vip: Vip = None,
    backend: Backend = None,
    kind: Kinds = (),
    level: LevelWord = None,
    actor: Who = None,
    since: MomentText = None,
    until: MomentText = None,
    cursor: Cursor = None,
) -> Wanted:
    now = control.history.moment()
    begin, end = (
        None if text is None else ns_of_moment(parse_moment(text, now, pointer))
        for text, pointer in ((since, "/query/since"), (until, "/query/until"))
    )
    if begin is not None and end is not None and begin >= end:
        raise InvalidError.field("/query/until", f"until ({until}) is not after since ({since})")
    return Wanted(
        vip=None if vip is None else str(control.answers.key_of_any(vip, "/query/vip")),
        backend=None if backend is None else str(parse_backend_address(backend, "/query/backend")),
        kinds=tuple(map(_kind, kind)),
        level=None if level is None else int(Level[level.upper()]),
        actor=actor,
        since=begin,
        until=end,
        after=cursor,
    )


def _kind(text: str) -> str:
    if text not in KINDS:
        near = difflib.get_close_matches(text, KINDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(sorted(KINDS))}"
        raise InvalidError.field("/query/kind", f"there is no kind of event {quoted(text, 60)}", hint=hint)
    return text


@router.get(
    "/events",
    operation_id="listEvents",
    summary="List or follow events",
    response_class=Response,
    status_code=200,
    openapi_extra=needs(Role.READ),
    responses={
        200: {
            "description": "A page of events; or, if that is accepted, a stream of them without end.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/EventsOut"}},
                MEDIA_TYPE: {"schema": {"type": "string"}},
            },
            "model": EventsOut,
        },
        **problems(404, 422, 503),
    },
)
async def events(
    request: Request,
    control: ControlOf,
    wanted: Annotated[Wanted, Depends(_wanted)],
    *,
    order: Annotated[
        Literal["asc", "desc"] | None, Query(description="`asc`: the oldest first, which is the default; or `desc`.")
    ] = None,
    limit: Annotated[int | None, Query(ge=1, le=MOST, description="At most so many: 100 by default."), WHOLE] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Return what has happened, a page at a time; with `Accept: text/event-stream` also what happens from now on.

    A page says in `next` which `cursor` gives the next one. A stream begins after `Last-Event-ID` or `cursor`, else at
    `since`, else now. Each of its events has its id and EventOut as its data. An event of the type `missed` says that
    events after the one asked for are not kept any more. There is a comment every 15 s. A client that reads nothing for
    10 s is cut off; it can come again with the last id that it got.
    """
    if not wants_stream(request.headers.get("accept", "")):
        page = await control.history.read(
            replace(wanted, newest_first=order == "desc", limit=DEFAULT if limit is None else limit)
        )
        return Response(page_body(page), media_type="application/json", headers={"Vary": "Accept"})
    for name, given in (("until", wanted.until), ("order", order), ("limit", limit)):
        if given is not None:
            raise InvalidError.field(f"/query/{name}", f"a stream has no {name}", hint="leave it out, or read pages")
    return await _stream(request, control, wanted, last_event_id)


async def _stream(request: Request, control: Control, wanted: Wanted, last_event_id: str | None) -> Response:
    if last_event_id:
        after = whole_of(last_event_id)
        if after is None or after < 0:
            raise InvalidError.field(
                "/header/Last-Event-ID", f"{quoted(last_event_id, 60)} is not the id of an event", hint="leave it out"
            )
        wanted = replace(wanted, after=after, since=None)
    latest = (await control.history.read(Wanted(limit=0))).latest  # also to see that there is something to read
    if wanted.after is None and wanted.since is None:
        wanted = replace(wanted, after=latest)
    if request.scope.get("asked") == "HEAD":
        return Response(media_type=MEDIA_TYPE, headers={"Vary": "Accept"})
    return EventStream(control.history, request.app.state.event_readers, wanted)
