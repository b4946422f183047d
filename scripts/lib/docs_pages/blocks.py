# SPDX-License-Identifier: Apache-2.0
"""Parts of a page that are made, between marks; what stands around them is written by hand and stays."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["block", "names", "with_blocks"]

_BLOCK = re.compile(r"<!-- made: (?P<name>.+?) -->\n.*?<!-- end -->\n", re.DOTALL)


def block(name: str, text: str) -> str:
    """Return a made part with its marks, as it stands in a page."""
    return f"<!-- made: {name} -->\n\n{text.strip()}\n\n<!-- end -->\n"


def names(page: str) -> list[str]:
    """Return the names of the made parts of a page, in their order."""
    return [found["name"] for found in _BLOCK.finditer(page)]


def with_blocks(page: str, made: Mapping[str, str]) -> str:
    """Return the page with its made parts as they should be. ValueError if it has others than these."""
    there = names(page)
    if sorted(there) != sorted(made):
        missing, left = sorted(set(made) - set(there)), sorted(set(there) - set(made))
        raise ValueError(f"marks to add: {missing}; marks to remove: {left}; twice: {len(there) - len(set(there))}")
    return _BLOCK.sub(lambda found: block(found["name"], made[found["name"]]), page)
