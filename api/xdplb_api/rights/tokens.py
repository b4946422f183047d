# SPDX-License-Identifier: Apache-2.0
"""Tokens of the API: who has one says so in each request, and has its role.

A token is 256 random bits. What is kept is its SHA-256: with so many bits nobody can try them all, so a slow hash as
for passwords would only cost time at each request. Whoever reads the file cannot make a token from it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from xdplb.model.errors import CapacityError, ConflictError, NotFoundError
from xdplb.model.role import Role

__all__ = ["LONGEST_SECRET", "MOST_TOKENS", "Token", "Tokens", "digest_of"]

PREFIX = "xdplb_"
"""So that a token that got into a file or a log by mistake is found, and is known for what it is."""

MOST_TOKENS = 1000
LONGEST_SECRET = 256
"""In characters. What is longer is no token and is not hashed."""

_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept. Times are seconds since 1970; `expires` is None if it never does."""

    name: str
    role: Role
    digest: str
    created: float
    expires: float | None = None
    used: float | None = None

    @property
    def lifetime(self) -> float:
        """For how many seconds it is of use."""
        return math.inf if self.expires is None else self.expires - self.created

    def has_expired(self, now: float) -> bool:
        """Return whether it is of no use any more."""
        return self.expires is not None and now >= self.expires


class Tokens:
    """All tokens. `now` is the wall clock, since an expiry is a date that people agreed on. In one thread only."""

    def __init__(self, known: Iterable[Token] = (), now: Callable[[], float] = time.time) -> None:
        self._by_digest = {token.digest: token for token in known}
        self._now = now

    def all(self) -> list[Token]:
        """Return all tokens by name, also those that have expired."""
        return sorted(self._by_digest.values(), key=lambda token: token.name)

    def find(self, secret: str) -> Token | None:
        """Return the token of a secret, also if it has expired, None if there is none."""
        if len(secret) > LONGEST_SECRET:
            return None
        digest = digest_of(secret)
        token = self._by_digest.get(digest)
        # How long the look-up takes may tell something of the hash of what was sent, and nothing of any token.
        return token if token is not None and hmac.compare_digest(token.digest, digest) else None

    def use(self, token: Token) -> None:
        """Note that a token was used now."""
        if token.digest in self._by_digest:
            self._by_digest[token.digest] = replace(token, used=self._now())

    def holds(self, token: Token) -> bool:
        """Return whether a token is still there and has not expired."""
        return token.digest in self._by_digest and not token.has_expired(self._now())

    def made(self, name: str, role: Role, seconds: float | None) -> tuple[Token, str]:
        """Return a new token that expires after `seconds`, and its secret; it is not added yet.

        ConflictError if the name is taken: a secret cannot be shown again. CapacityError if there are too many.
        """
        if any(token.name == name for token in self._by_digest.values()):
            raise ConflictError(
                f"there is a token {name!r} already, and it cannot be shown again",
                hint=f"remove it (xdplb token rm {name}), or use another name",
            )
        if len(self._by_digest) >= MOST_TOKENS:
            raise CapacityError(f"there are {MOST_TOKENS} tokens already", hint="remove those that nobody needs")
        random = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).decode().rstrip("=")
        secret, now = PREFIX + random, self._now()
        return Token(name, role, digest_of(secret), now, None if seconds is None else now + seconds), secret

    def named(self, name: str) -> Token:
        """Return the token of that name. NotFoundError if there is none."""
        for token in self._by_digest.values():
            if token.name == name:
                return token
        raise NotFoundError(f"there is no token {name!r}", hint="xdplb token ls")

    def add(self, token: Token) -> None:
        """Add a token."""
        self._by_digest[token.digest] = token

    def remove(self, token: Token) -> None:
        """Remove a token. It is no error if it is not there."""
        self._by_digest.pop(token.digest, None)


def digest_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
