# SPDX-License-Identifier: Apache-2.0
"""A backup on the host itself, while no daemon runs: the state file, with what its log has."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from xdplb.control.state.sqlite import SqliteStore
from xdplb.model.errors import NotFoundError

__all__ = ["read_state_dir"]


def read_state_dir(folder: Path) -> bytes:
    """Return a backup of the state in `folder`.

    NotFoundError if there is none, ConflictError if a daemon holds it, StateError if it cannot be read.
    """
    with closing(SqliteStore(folder)) as store:
        if not store.exists:
            raise NotFoundError(f"there is no state in {folder}", hint="name the daemon's --state-dir")
        store.open()
        return store.copy()
