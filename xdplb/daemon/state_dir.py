# SPDX-License-Identifier: Apache-2.0
"""The folder of the state before it is opened: for root only, also where an older xdplb made it readable by others."""

from __future__ import annotations

from pathlib import Path

from xdplb.private_files import require_trusted, shut_out_others

__all__ = ["shut_state_dir"]

_FILES = (
    *("state.db", "state.db-wal", "state.db-shm", "state.db-journal", "state.db-acknowledged", "state.db-new"),
    "tokens.json",
)
"""What store and API make. None may be open in this process yet: closing a file gives up SQLite's locks on it."""


def shut_state_dir(folder: Path) -> None:
    """Let only root read and write the state in `folder`, which need not exist yet.

    Raises PlatformError if another user could replace it, or made a file that would be taken for it.
    """
    require_trusted(folder, "the state")
    for name in _FILES:
        shut_out_others(folder / name)
