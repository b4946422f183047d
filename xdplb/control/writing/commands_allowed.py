# SPDX-License-Identifier: Apache-2.0
"""Whether a change may have commands of this host run as checks. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from xdplb.control.state.touched import Touched
from xdplb.model.errors import InvalidError
from xdplb.model.health import CheckType

__all__ = ["refuse_commands"]


def refuse_commands(changes: Iterable[Touched]) -> None:
    """Raise InvalidError if a change adds exec checks: this daemon runs none. Those that there are may stay."""
    for each in changes:
        if each.after is None:
            continue
        known = () if each.before is None else each.before.checks
        if any(check.type is CheckType.EXEC and check not in known for check in each.after.checks):
            raise InvalidError(
                f"VIP {each.key} cannot have an exec check: this daemon runs no commands",
                hint="start it with xdplb up --exec-checks; whoever may set checks can then run commands of this host",
            )
