# SPDX-License-Identifier: Apache-2.0
"""The errors that a client raises, and how a problem of the API becomes one of them.

All are an XdplbError: `detail` says what is wrong, `hint` what to try, `problems` which fields are wrong.
"""

from __future__ import annotations

import json
from typing import ClassVar

from xdplb.model import errors
from xdplb.model.errors import (
    ConflictError,
    FieldProblem,
    InvalidError,
    NotFoundError,
    PlatformError,
    PreconditionError,
    XdplbError,
)

__all__ = [
    "BusyError",
    "DaemonDownError",
    "ForbiddenError",
    "NotReadyError",
    "StillRunningError",
    "TimedOutError",
    "UnauthenticatedError",
    "from_problem",
]


class DaemonDownError(XdplbError):
    """No daemon answers."""

    code = "daemon-down"
    exit_code: ClassVar[int] = 3


class TimedOutError(XdplbError):
    """What was waited for did not happen in time. What was started continues."""

    code = "timed-out"
    exit_code: ClassVar[int] = 5


class UnauthenticatedError(XdplbError):
    """The daemon does not know who asks: there is no token and no certificate, or it is not valid."""

    code = "unauthenticated"


class ForbiddenError(XdplbError):
    """Who asks does not have the role that this needs. Nothing was changed."""

    code = "forbidden"


class BusyError(PlatformError):
    """The API has too much to do. Nothing was changed; the same may be asked again, after `retry_after` seconds."""

    code = "busy"
    retry_after = 0.0


class StillRunningError(ConflictError):
    """A request with the same Idempotency-Key is being worked on."""

    code = "still-running"


class NotReadyError(PlatformError):
    """Packets are not forwarded as configured, or too few backends of a VIP serve. `body` is the whole problem."""

    code = "not-ready"
    body = b""


_KINDS: list[type[XdplbError]] = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, XdplbError)
]
_BY_CODE: dict[str, type[XdplbError]] = {
    "too-many-connections": BusyError,
    "too-many-failures": UnauthenticatedError,
}
_OWN_KINDS: list[type[XdplbError]] = [
    UnauthenticatedError,
    ForbiddenError,
    BusyError,
    NotReadyError,
    StillRunningError,
]
for _kind in _KINDS + _OWN_KINDS:
    _BY_CODE.setdefault(_kind.code, _kind)  # the first that has a code; those below it share its code
_BY_STATUS: dict[int, type[XdplbError]] = {
    400: InvalidError,
    401: UnauthenticatedError,
    403: ForbiddenError,
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
    kind = _BY_CODE.get(str(problem.get("type")).rpartition(":")[2], kind)
    error = kind(detail, hint=str(problem.get("hint") or ""), problems=_fields(problem.get("errors")))
    if isinstance(error, NotReadyError):
        error.body = body
    return error


def _fields(given: object) -> tuple[FieldProblem, ...]:
    if not isinstance(given, list):
        return ()
    return tuple(
        FieldProblem(str(error.get("pointer", "")), str(error.get("detail", "")))
        for error in given
        if isinstance(error, dict)
    )
