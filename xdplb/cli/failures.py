"""The errors that only commands raise, and how a problem of the API becomes an error."""

from __future__ import annotations

import json
from typing import ClassVar

from xdplb.model.errors import (
    ConflictError,
    FieldProblem,
    InvalidError,
    NotFoundError,
    PlatformError,
    PreconditionError,
    XdplbError,
)

__all__ = ["DaemonDownError", "TimedOutError", "from_problem"]


class DaemonDownError(XdplbError):
    """No daemon answers."""

    code = "daemon-down"
    exit_code: ClassVar[int] = 3


class TimedOutError(XdplbError):
    """What the command waited for did not happen in time. What it started continues."""

    code = "timed-out"
    exit_code: ClassVar[int] = 5


_BY_STATUS: dict[int, type[XdplbError]] = {
    400: InvalidError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionError,
    422: InvalidError,
    503: PlatformError,
}


def from_problem(status: int, body: bytes) -> XdplbError:
    """Return the error that an answer of `status` with an RFC 9457 `body` describes.

    A body of another kind, such as a proxy's page, still gives a sentence: the status and the body's first line.
    """
    kind = _BY_STATUS.get(status, XdplbError)
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        first_line = body.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        return kind(f"the daemon answered {status}: {first_line or 'nothing'}", hint="is this an xdplb daemon?")
    detail = str(problem.get("detail") or problem.get("title") or f"the daemon answered {status}")
    return kind(detail, hint=str(problem.get("hint") or ""), problems=_fields(problem.get("errors")))


def _fields(errors: object) -> tuple[FieldProblem, ...]:
    if not isinstance(errors, list):
        return ()
    return tuple(
        FieldProblem(str(error.get("pointer", "")), str(error.get("detail", "")))
        for error in errors
        if isinstance(error, dict)
    )
