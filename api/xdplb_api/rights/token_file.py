# SPDX-License-Identifier: Apache-2.0
"""The file that keeps the tokens: beside the state, for root only, replaced as a whole."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xdplb.model.errors import StateError
from xdplb.model.role import Role
from xdplb.model.vip import NAME_PATTERN
from xdplb.private_files import open_private, open_private_folder

from .tokens import Token, Tokens

__all__ = ["FILE_NAME", "TokenFile"]

FILE_NAME = "tokens.json"
_VERSION = 1
_USES_SECONDS = 60.0
"""How long uses of tokens may wait until they are written: they are for people who clean up, and nothing relies on it.
"""
_LARGEST = 4 << 20
_END_OF_TIME = 253_402_300_800.0  # the year 10000, which no date has

_log = logging.getLogger("xdplb.api")


class TokenFile:
    """The tokens of the file in `folder`. What `add` and `remove` have done survives `kill -9`.

    Without a folder they are in memory only.
    """

    def __init__(self, folder: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._folder, self._now = folder, now
        self._lock = asyncio.Lock()
        self._saved_at, self._has_uses = 0.0, False
        self._saving: asyncio.Task[None] | None = None
        self.tokens = Tokens([] if folder is None else _read(folder / FILE_NAME), now)

    async def add(self, name: str, role: Role, seconds: float | None) -> tuple[Token, str]:
        """Add a token that expires after `seconds` and return it with its secret; see Tokens.made.

        StateError if it cannot be written; then there is no such token.
        """
        async with self._lock:
            token, secret = self.tokens.made(name, role, seconds)
            await self._write([*self.tokens.all(), token])
            self.tokens.add(token)
        return token, secret

    async def remove(self, token: Token) -> None:
        """Remove a token. StateError if that cannot be written; then it is still there."""
        async with self._lock:
            await self._write([one for one in self.tokens.all() if one.digest != token.digest])
            self.tokens.remove(token)

    def use(self, token: Token) -> None:
        """Note that a token was used now; it is written within a minute."""
        self.tokens.use(token)
        self._has_uses = True
        if self._now() - self._saved_at >= _USES_SECONDS and self._saving is None:
            self._saved_at = self._now()
            self._saving = asyncio.create_task(self._save_uses())

    def close(self) -> None:
        """Write when tokens were used, once the event loop that they were used in has ended."""
        if self._has_uses and self._folder is not None:
            try:
                _replace(self._folder, _text(self.tokens.all()))
            except StateError as error:
                _log.warning("when tokens were used is not kept: %s", error.detail)

    async def _save_uses(self) -> None:
        try:
            async with self._lock:
                await self._write(self.tokens.all())
        except StateError as error:
            _log.warning("when tokens were used is not kept: %s", error.detail)
        finally:
            self._saving = None

    async def _write(self, tokens: Sequence[Token]) -> None:
        self._has_uses = False
        if self._folder is not None:
            await asyncio.to_thread(_replace, self._folder, _text(tokens))


def _replace(folder: Path, text: str) -> None:
    """Put a file with `text` in the place of the one in `folder`, in one step."""
    try:
        place = open_private_folder(folder)
        try:
            fresh = open_private(f"{FILE_NAME}-new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, place)
            with os.fdopen(fresh, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(fresh)
            os.rename(f"{FILE_NAME}-new", FILE_NAME, src_dir_fd=place, dst_dir_fd=place)
            os.fsync(place)
        finally:
            os.close(place)
    except OSError as error:
        raise StateError(
            f"the tokens cannot be written to {folder / FILE_NAME}: {error.strerror}",
            hint="look at the state dir with df and ls -ld; nothing was changed",
        ) from None


def _read(path: Path) -> list[Token]:
    """Return the tokens in a file. One that cannot be read is put aside: without it nobody gets in by a token."""
    try:
        with os.fdopen(open_private(path, os.O_RDONLY), encoding="utf-8") as file:
            told = json.loads(file.read(_LARGEST))
        if told["version"] != _VERSION:
            raise ValueError(f"it is of version {told['version']}")
        return [_token(one) for one in told["tokens"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        aside = path.with_name(f"{FILE_NAME}.damaged")
        path.replace(aside)
        why = error.strerror if isinstance(error, OSError) else error
        _log.error("the tokens in %s cannot be read, so there are none: %s; the file is now %s", path, why, aside)
    return []


def _text(tokens: Sequence[Token]) -> str:
    return json.dumps({"version": _VERSION, "tokens": list(map(_kept, tokens))})


def _kept(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "role": token.role.value,
        "sha256": token.digest,
        "created": token.created,
        "expires": token.expires,
        "used": token.used,
    }


def _token(kept: Any) -> Token:
    name, digest = kept["name"], kept["sha256"]
    if not re.fullmatch(NAME_PATTERN, name) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("it has a token without a right name or hash")
    expires, used = (None if kept[field] is None else _moment(kept[field]) for field in ("expires", "used"))
    return Token(name, Role(kept["role"]), digest, _moment(kept["created"]), expires, used)


def _moment(kept: Any) -> float:
    moment = float(kept)
    if not 0 <= moment < _END_OF_TIME:
        raise ValueError(f"{kept!r} is not a moment in seconds since 1970")
    return moment
