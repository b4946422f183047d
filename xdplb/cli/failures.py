"""What can go wrong for a command beside the errors of the model, and how an API problem becomes one of them."""

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
    """Nobody answers where the daemon should listen."""

    code = "daemon-down"
    exit_code: ClassVar[int] = 3


class TimedOutError(XdplbError):
    """What was waited for did not happen in time; what was asked goes on."""

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
    """Return the error that an answer of `status` with an RFC 9457 `body` stands for.

    A body that is no problem (a proxy's page, say) still makes a sentence: the status and its first line.
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
