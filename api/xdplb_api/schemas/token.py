# SPDX-License-Identifier: Apache-2.0
"""The bodies of tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from xdplb.model.moment import moment_of_seconds
from xdplb.model.role import Role
from xdplb.model.vip import NAME_PATTERN
from xdplb_api.rights.tokens import Token

from .base import RequestBody, ResponseBody

__all__ = ["DAY_SECONDS", "TokenAddedOut", "TokenDryRunOut", "TokenIn", "TokenListOut", "TokenOut"]

DAY_SECONDS = 86400.0
_USUAL_DAYS = 90
_MOST_DAYS = 3660


class TokenIn(RequestBody):
    """A token to add."""

    name: str = Field(pattern=NAME_PATTERN, description="Its name, which events show.", examples=["ci"])
    role: Annotated[Role, Field(strict=False)] = Field(description="What whoever has it may do.")
    expires_in_seconds: float | None = Field(
        default=_USUAL_DAYS * DAY_SECONDS,
        gt=0,
        le=_MOST_DAYS * DAY_SECONDS,
        description="After how many seconds it expires; null: never.",
    )


class TokenOut(ResponseBody):
    """A token, without its secret: that is not kept."""

    name: str = Field(description="Its name.", examples=["ci"])
    role: Role = Field(description="What whoever has it may do.")
    created: datetime = Field(description="When it was added.")
    expires: datetime | None = Field(description="When it expires; null: never.")
    expired: bool = Field(description="It has expired, and is of no use any more.")
    last_used: datetime | None = Field(description="When it was used last, to the minute; null: not yet.")

    @classmethod
    def of(cls, token: Token, now: float) -> TokenOut:
        """Return the body for a token."""
        return cls(
            name=token.name,
            role=token.role,
            created=moment_of_seconds(token.created),
            expires=None if token.expires is None else moment_of_seconds(token.expires),
            expired=token.has_expired(now),
            last_used=None if token.used is None else moment_of_seconds(token.used),
        )


class TokenDryRunOut(ResponseBody):
    """What a change of tokens would do, with `dry_run=true`, which changes nothing."""

    would_change: bool = Field(description="Always true: else it is an error.")
    changed: bool = Field(description="Always false.")
    changes: list[str] = Field(description="A sentence for each thing that would change.")

    @classmethod
    def of(cls, change: str) -> TokenDryRunOut:
        """Return the body for a change in words."""
        return cls(would_change=True, changed=False, changes=[change])


class TokenListOut(ResponseBody):
    """All tokens."""

    tokens: list[TokenOut] = Field(description="The tokens, by name.")


class TokenAddedOut(TokenOut):
    """A token that was added, with its secret."""

    token: str = Field(description="The secret. It is shown here and never again.")

    @classmethod
    def with_secret(cls, token: Token, secret: str) -> TokenAddedOut:
        """Return the body for a new token."""
        return cls(**TokenOut.of(token, token.created).model_dump(), token=secret)
