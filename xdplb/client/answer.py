# SPDX-License-Identifier: Apache-2.0
"""What a client gets back: an answer with its body, its generation and its warnings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import Generic, TypeVar, cast

from .bodies import DryRunOut

__all__ = ["Answer"]

Body_co = TypeVar("Body_co", covariant=True)

_CREATED = 201


@dataclass(frozen=True, slots=True)
class Answer(Generic[Body_co]):
    """A 2xx answer: its status, its body as received, and the generation in its ETag (None if it has none).

    `warnings` are what may have been overlooked in the change that it answers, a sentence each.
    """

    status: int
    body: bytes
    generation: int | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, status: int, headers: HTTPMessage, body: bytes) -> Answer[Body_co]:
        """Return the answer with these parts."""
        tag = (headers.get("ETag") or "").removeprefix("W/").strip('"')
        return cls(status, body, int(tag) if tag.isdigit() else None, _warnings(headers))

    def json(self) -> Body_co:
        """Return the decoded body, None if it is empty. To a dry run the answer is another: see `dry_run`."""
        return cast("Body_co", json.loads(self.body) if self.body else None)

    def dry_run(self) -> DryRunOut:
        """Return the decoded body of the answer to a dry run: what would change."""
        return cast("DryRunOut", json.loads(self.body))

    @property
    def created(self) -> bool:
        """Whether the change made something that was not there before."""
        return self.status == _CREATED


def _warnings(headers: HTTPMessage) -> tuple[str, ...]:
    """Return the sentences in the header with warnings; none if it is not as this version writes it."""
    try:
        return tuple(str(warning["detail"]) for warning in json.loads(headers.get("Xdplb-Warnings") or "[]"))
    except (ValueError, TypeError, KeyError):
        return ()
