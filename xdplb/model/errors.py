"""The errors xdplb raises on purpose, each a sentence a person can act on.

The CLI turns them into an exit code, the API into an RFC 9457 problem; nothing else needs to know either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

__all__ = [
    "CapacityError",
    "ConflictError",
    "FieldProblem",
    "InvalidError",
    "NotFoundError",
    "PlatformError",
    "PreconditionError",
    "XdplbError",
]


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field that cannot be accepted: a JSON pointer (RFC 6901) to it and what is wrong with it."""

    pointer: str
    detail: str


class XdplbError(Exception):
    """What is wrong (`detail`), what to do about it (`hint`) and which fields it concerns (`problems`).

    `code` is a stable word for programs: it ends the problem type's URI in the API.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str, *, hint: str = "", problems: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.problems = problems

    @classmethod
    def field(cls, pointer: str, detail: str, *, hint: str = "") -> Self:
        """Return the error for one field; `pointer` is its JSON pointer, such as `/weight`."""
        return cls(detail, hint=hint, problems=(FieldProblem(pointer, detail),))

    def __str__(self) -> str:
        return f"{self.detail} ({self.hint})" if self.hint else self.detail


class InvalidError(XdplbError):
    """A value that cannot be right, whatever the state: nothing was changed."""

    code = "invalid"
    status = 422
    exit_code = 2


class NotFoundError(XdplbError):
    """The VIP, backend or check named is not there."""

    code = "not-found"
    status = 404
    exit_code = 1


class ConflictError(XdplbError):
    """It is there already and is different, or somebody else holds it."""

    code = "conflict"
    status = 409
    exit_code = 4


class PreconditionError(XdplbError):
    """`If-Match` named a generation that is no longer the current one."""

    code = "precondition-failed"
    status = 412
    exit_code = 4


class CapacityError(XdplbError):
    """The maps have no room for it; they are sized when the data plane is loaded."""

    code = "capacity"
    status = 409
    exit_code = 4


class PlatformError(XdplbError):
    """The kernel, the NIC or the host refused: EPERM, the verifier, missing headers, no native XDP."""

    code = "platform"
    status = 503
    exit_code = 1
