# SPDX-License-Identifier: Apache-2.0
"""What somebody may do: read, operate (what an operator does every day), or administer."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Role"]


class Role(StrEnum):
    """A role. Each includes those before it. Compare them with `includes`: `<` would compare the words."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Return whether who has this role may do what `other` allows."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}
