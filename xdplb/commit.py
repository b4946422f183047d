# SPDX-License-Identifier: Apache-2.0
"""The commit that this xdplb was built from: noted in a wheel when it is built, read from Git in a checkout."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

__all__ = ["NOTE", "commit", "read_head"]

NOTE = "_commit"
"""The file of the package that a built wheel has the commit in; scripts/lib/build_hook.py writes it."""

_PACKAGE = Path(__file__).parent
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def commit(package: Path = _PACKAGE) -> str | None:
    """Return the full hash of the commit, or None where nothing says it: in a copy of the sources without Git."""
    with suppress(OSError):
        return _hash((package / NOTE).read_text())
    return read_head(package.parent)


def read_head(checkout: Path) -> str | None:
    """Return the commit that a checkout is at, or None if it is none. No command is run: it takes some file reads.

    Git's own layout (gitrepository-layout(5)): HEAD names a branch or a commit; a branch's commit is in a file of its
    name or in packed-refs; a worktree's .git is a file that names its folder, where `commondir` says whose it is.
    """
    with suppress(OSError):
        folder = checkout / ".git"
        if folder.is_file():
            folder = checkout / folder.read_text().removeprefix("gitdir:").strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return _hash(head)
        return _of_branch(folder, head.removeprefix("ref: "))
    return None


def _of_branch(folder: Path, branch: str) -> str | None:
    shared = folder
    with suppress(OSError):
        shared = folder / (folder / "commondir").read_text().strip()
    with suppress(OSError):
        return _hash((shared / branch).read_text())
    for line in (shared / "packed-refs").read_text().splitlines():
        found, _, name = line.partition(" ")
        if name == branch:
            return _hash(found)
    return None


def _hash(text: str) -> str | None:
    found = _HASH.fullmatch(text.strip())
    return found[0] if found else None
