# SPDX-License-Identifier: Apache-2.0
"""Regular expressions in which time is in proportion to what is searched: those of RE2.

Python's own could hold up the control loop for minutes with one body of a backend.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import re2

__all__ = ["Regex", "RegexError", "compiled"]

_MOST_BYTES = 8 << 20


class RegexError(ValueError):
    """A text that is no regular expression; says why."""


class Regex(Protocol):
    """A compiled regular expression. `programsize` is the number of its instructions."""

    programsize: int

    def search(self, data: bytes) -> object | None:
        """Return what was found in `data`, None if nothing."""
        ...


@lru_cache(maxsize=256)
def compiled(regex: str) -> Regex:
    """Return the regular expression `regex`, which is searched for in UTF-8. Raises RegexError."""
    options: Any = re2.Options()
    options.max_mem = _MOST_BYTES
    options.log_errors = False
    try:
        made: Regex = re2.compile(regex, options=options)
    except re2.error as error:
        said = error.args[0]
        raise RegexError(said.decode() if isinstance(said, bytes) else str(said)) from None
    return made
