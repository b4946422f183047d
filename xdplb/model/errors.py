# SPDX-License-Identifier: Apache-2.0
"""The errors that xdplb raises on purpose, each with a sentence that a user can act on.

The CLI turns them into exit codes, the API into RFC 9457 problems. Only those two use `exit_code` and `status`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

__all__ = [
    "PROBLEM_TYPE",
    "CapacityError",
    "ConflictError",
    "FieldProblem",
    "HeadMovedError",
    "InvalidError",
    "NotFoundError",
    "OwnedError",
    "PendingError",
    "PlatformError",
    "PreconditionError",
    "StateError",
    "StoreAwayError",
    "StoreDoubtError",
    "StoreRefusedError",
    "XdplbError",
    "located",
    "within",
]


PROBLEM_TYPE = "urn:xdplb:problem:"
"""What the type of a problem begins with, in front of the error's `code`."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """A field that is not accepted: a JSON pointer (RFC 6901) to it, and what is wrong with it."""

    pointer: str
    detail: str


class XdplbError(Exception):
    """What is wrong (`detail`), how to fix it (`hint`) and which fields are wrong (`problems`).

    `code` is a stable word for programs: the last part of the problem type's URI in the API.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    again_after: ClassVar[int | None] = None
    """In how many seconds the same may be asked again with hope, None if that is not known."""

    def __init__(self, detail: str, *, hint: str = "", problems: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.problems = problems

    @classmethod
    def field(cls, pointer: str, detail: str, *, hint: str = "") -> Self:
        """Return an error about one field; `pointer` is its JSON pointer, such as `/weight`."""
        return cls(detail, hint=hint, problems=(FieldProblem(pointer, detail),))

    def __str__(self) -> str:
        return f"{self.detail} ({self.hint})" if self.hint else self.detail


class InvalidError(XdplbError):
    """A value that is wrong whatever the state is. Nothing was changed."""

    code = "invalid"
    status = 422
    exit_code = 2


class NotFoundError(XdplbError):
    """There is no such VIP, backend or check."""

    code = "not-found"
    status = 404
    exit_code = 1


class ConflictError(XdplbError):
    """It exists already and is different, or another process holds it."""

    code = "conflict"
    status = 409
    exit_code = 4


class OwnedError(ConflictError):
    """A config file owns the VIPs and backends, so only the file can change them."""

    code = "owned-by-file"


class PreconditionError(XdplbError):
    """`If-Match` named a generation that is no longer the current one."""

    code = "precondition-failed"
    status = 412
    exit_code = 4


class CapacityError(XdplbError):
    """The maps have no room for it. A restart of the daemon can give them more."""

    code = "capacity"
    status = 409
    exit_code = 4


class PlatformError(XdplbError):
    """The kernel, the NIC or the host refused: EPERM, the verifier, missing headers, no native XDP."""

    code = "platform"
    status = 503
    exit_code = 1


class PendingError(PlatformError):
    """The change is saved, but the data plane does not have it yet: that is retried until it succeeds."""


class StateError(PlatformError):
    """The state cannot be read or written: no room, read-only, another user's, damaged. Nothing was changed."""

    code = "state"


class HeadMovedError(ConflictError):
    """Another balancer has changed the desired state in the store meanwhile. Nothing was changed."""


class StoreAwayError(PlatformError):
    """The store that the balancers share cannot be reached, or does not answer in time. Nothing was changed."""

    code = "store-away"
    again_after = 2


class StoreDoubtError(StoreAwayError):
    """The store stopped answering in the middle of a change, which may have been made."""

    code = "store-doubt"


class StoreRefusedError(PlatformError):
    """The store that the balancers share does not do what was asked: no right to it, no room, too large."""

    code = "store-refused"


def located(pointer: str, error: XdplbError, other: str = "") -> XdplbError:
    """Return an error about an object with the place of that object, `pointer`, before each of its own pointers.

    `other` points to what it is in conflict with.
    """
    problems = error.problems or (FieldProblem("", error.detail),)
    error.problems = tuple(FieldProblem(pointer + problem.pointer, problem.detail) for problem in problems)
    if other:
        error.problems += (FieldProblem(other, "the other one"),)
    return error


@contextmanager
def within(pointer: str) -> Iterator[None]:
    """Have errors in the block point into the object at `pointer`."""
    try:
        yield
    except XdplbError as error:
        located(pointer, error)
        raise
