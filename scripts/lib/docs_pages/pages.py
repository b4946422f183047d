# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/ that have made parts."""

from __future__ import annotations

from pathlib import Path

from . import commands, routes
from .blocks import with_blocks

__all__ = ["stale", "write"]

_DOCS = Path(__file__).resolve().parents[3] / "docs"


def _wanted() -> dict[Path, str]:
    """Return each page as it should be."""
    cli, api = _DOCS / "reference" / "cli.md", _DOCS / "reference" / "api.md"
    return {
        cli: with_blocks(commands.with_all_marks(cli.read_text("utf-8")), commands.made()),
        api: with_blocks(api.read_text("utf-8"), routes.made()),
    }


def stale() -> list[str]:
    """Return the pages whose made parts are not what the code says."""
    return [page.name for page, wanted in _wanted().items() if page.read_text("utf-8") != wanted]


def write() -> list[str]:
    """Write the pages that are stale, and return their names."""
    old = stale()
    for page, wanted in _wanted().items():
        page.write_text(wanted, encoding="utf-8")
    return old
