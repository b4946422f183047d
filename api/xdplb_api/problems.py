# SPDX-License-Identifier: Apache-2.0
"""Errors as problems of RFC 9457: what is wrong, in which fields, and what to try."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from xdplb.model.errors import PROBLEM_TYPE, FieldProblem, XdplbError
from xdplb.model.printable import quoted, word

from .field_errors import json_pointer, sentence_of
from .hints import Schema, hint_for, schema_of, without_tags

__all__ = [
    "MEDIA_TYPE",
    "FieldProblemOut",
    "Problem",
    "ProblemResponse",
    "busy",
    "install",
    "internal_error",
    "raw_problem",
    "refused",
    "stopped",
    "too_large",
    "too_much_to_do",
]

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger(__name__)

_BEFORE_ROUTES = {
    404: ("no-such-path", "see /openapi.json for the paths"),
    405: ("method-not-allowed", "the Allow header lists the methods of this path"),
    413: ("too-large", "send less in one request"),
    415: (
        "unsupported-media-type",
        "send it as application/json, such as with curl --json; without a body, add -H 'Xdplb-Client: curl'",
    ),
}
"""Errors found before a request reaches its route, by status: the code and a hint."""

_MOST_ERRORS = 100
"""How many wrong fields an answer lists: a body may have hundreds of thousands."""


class FieldProblemOut(BaseModel):
    """A field that is not accepted."""

    pointer: str = Field(
        description="A JSON pointer (RFC 6901) into the body; `/path/…`, `/query/…` and `/header/…` are outside of it.",
        examples=["/weight"],
    )
    detail: str = Field(description="What is wrong with it.", examples=["weight 70000 is out of range"])


class Problem(BaseModel):
    """An error (RFC 9457). Nothing was changed."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="The kind of problem, for programs.", examples=[f"{PROBLEM_TYPE}invalid"])
    title: str = Field(description="The kind of problem in words.", examples=["Unprocessable Entity"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(description="What is wrong, as a sentence.", examples=["weight 70000 is out of range"])
    errors: list[FieldProblemOut] = Field(default=[], description="The fields it concerns.")
    hint: str = Field(default="", description="What to try.", examples=["give a whole number from 0 to 65535"])


class ProblemResponse(Response):
    """An answer with a problem; `more` are extra members of this kind of problem."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        body = {
            "type": PROBLEM_TYPE + code,
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "errors": [{"pointer": error.pointer, "detail": error.detail} for error in errors],
            "hint": hint,
            **more,
        }
        # ASCII only: text quoted from a request may contain half of a surrogate pair, which has no UTF-8 form.
        super().__init__(json.dumps(body).encode(), status, dict(headers or {}))

    def raw(self) -> bytes:
        """Return the whole answer as it is sent in HTTP/1.1, for a connection that is closed after it."""
        lines = [f"HTTP/1.1 {self.status_code} {HTTPStatus(self.status_code).phrase}".encode(), b"Connection: close"]
        lines += [name + b": " + value for name, value in self.raw_headers if name != b"connection"]
        return b"\r\n".join([*lines, b"", bytes(self.body)])


def refused(error: XdplbError) -> ProblemResponse:
    """Return the answer for an error that xdplb raised on purpose."""
    headers = {} if error.again_after is None else {"Retry-After": str(error.again_after)}
    return ProblemResponse(
        error.status, error.code, error.detail, hint=error.hint, errors=error.problems, headers=headers
    )


def internal_error(error: Exception, request_line: str) -> ProblemResponse:
    """Log `error` with its traceback and return the answer, which only says where to look."""
    _log.error("request failed: %s", quoted(request_line), exc_info=error)
    return ProblemResponse(
        500, "internal", "the daemon failed on this request", hint="its log has the cause; please report it"
    )


def busy(detail: str, hint: str) -> ProblemResponse:
    """Return the answer to a request that comes while there is too much to do."""
    return ProblemResponse(503, "busy", detail, hint=hint, headers={"Retry-After": "1"})


def too_much_to_do() -> ProblemResponse:
    """Return the answer to a request that has waited for its turn for too long."""
    return busy("the API has too much to do at the moment", "try again in a second")


def stopped() -> ProblemResponse:
    """Return the answer to a request that was not done yet when the daemon stopped."""
    return ProblemResponse(
        503,
        "stopping",
        "xdplb stops, and this request was not done yet",
        hint="once it runs again, see whether it has a change before you ask for it again",
    )


def too_large(most: int) -> ProblemResponse:
    """Return the answer to a body of more than `most` bytes."""
    code, hint = _BEFORE_ROUTES[413]
    return ProblemResponse(413, code, f"the body has more than {most} bytes", hint=hint)


def raw_problem(status: int, code: str, detail: str, *, hint: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole answer of HTTP/1.1 with a problem, for a connection that is closed after it."""
    return ProblemResponse(status, code, detail, hint=hint, headers=headers).raw()


def install(app: FastAPI) -> None:
    """Make `app` answer every error with a problem."""

    @app.exception_handler(XdplbError)
    async def _xdplb(_: Request, error: XdplbError) -> Response:
        _let_go(error)
        return refused(error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        _let_go(error)
        return _http_problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        _let_go(error)
        return _validation_problem(error.errors(), _body_schema(request))


def _let_go(error: BaseException | None) -> None:
    """Clear the variables of the functions that an error came through, such as the body of the request.

    Some name the error, and so would keep it and each other in memory until a full collection of garbage.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # errors may be each other's causes, and even their own
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _http_problem(request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    # Not request.url: reading it fails if the Host header is malformed.
    path: str = request.scope["path"]
    detail, headers = error.detail, error.headers
    if status == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {word(path, 200)}"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_methods(request))}
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        detail = f"{request.scope.get('asked', request.method)} is not a method of {word(path, 200)}"
    elif status == HTTPStatus.BAD_REQUEST:
        return _not_json("it cannot be decoded")
    code, hint = _BEFORE_ROUTES.get(status, (f"http-{status}", ""))
    return ProblemResponse(status, code, detail, hint=hint, headers=headers)


def _methods(request: Request) -> list[str]:
    """Return all methods of the requested path; the router itself knows only those of the first matching route."""
    scope = dict(request.scope)
    routes = request.app.router.routes
    methods = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return [*(["GET", "HEAD"] if "GET" in methods else []), *(m for m in methods if m != "GET"), "OPTIONS"]


def _not_json(reason: str) -> ProblemResponse:
    problem = FieldProblem("", f"the body is not JSON: {reason}")
    return ProblemResponse(400, "not-json", problem.detail, hint="send a JSON object", errors=[problem])


def _validation_problem(errors: Sequence[Mapping[str, Any]], schema: Schema) -> ProblemResponse:
    for error in errors:
        if error["type"] == "json_invalid":
            return _not_json(f"{error['ctx']['error']} (character {error['loc'][-1]})")
    fields = [
        FieldProblem(json_pointer(without_tags(_in_body(error["loc"]), schema)), sentence_of(error))
        for error in errors[:_MOST_ERRORS]
    ]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ProblemResponse(422, "invalid", fields[0].detail + more, hint=hint_for(errors[0], schema), errors=fields)


def _body_schema(request: Request) -> Schema:
    """Return the JSON schema of the body of this request's route, an empty one if it has no body."""
    field = getattr(request.scope.get("route"), "body_field", None)
    return {} if field is None else schema_of(field.field_info.annotation)


def _in_body(loc: Sequence[str | int]) -> Sequence[str | int]:
    return loc[1:] if loc and loc[0] == "body" else loc
