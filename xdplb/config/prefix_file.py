# SPDX-License-Identifier: Apache-2.0
"""Files of prefixes: one a line, `#` starts a comment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .faults import Spot

__all__ = ["ListedPrefix", "listed_prefixes"]


class ListedPrefix(NamedTuple):
    """A prefix as it is written, and where."""

    text: str
    spot: Spot


def listed_prefixes(text: str) -> Iterator[ListedPrefix]:
    """Yield the prefixes in the text of a file; they are not validated."""
    for number, line in enumerate(text.splitlines(), 1):
        written = line.partition("#")[0]
        if prefix := written.strip():
            yield ListedPrefix(prefix, Spot(number, len(written) - len(written.lstrip()) + 1))
