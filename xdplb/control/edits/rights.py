# SPDX-License-Identifier: Apache-2.0
"""The role that a change needs: what an operator does every day, or what only an admin does."""

from __future__ import annotations

from xdplb.control.edits.edit import Batch, ClearOverlay, DrainBackend, Edit, PatchBackend, UndrainBackend
from xdplb.model.role import Role

__all__ = ["OPERATED", "role_for"]

OPERATED = frozenset({"weight", "admin_state"})
"""The fields of a backend that an operator may change: they take it out of service and put it back, or give it less."""


def role_for(edit: Edit) -> Role:
    """Return the role that whoever asks for a change needs: of a batch, the highest of its edits'."""
    if isinstance(edit, Batch):
        needed = {role_for(one) for one in edit.edits}
        return Role.OPERATE if needed == {Role.OPERATE} else Role.ADMIN
    is_operated = isinstance(edit, PatchBackend) and edit.changes.keys() <= OPERATED
    return Role.OPERATE if is_operated or isinstance(edit, DrainBackend | UndrainBackend | ClearOverlay) else Role.ADMIN
