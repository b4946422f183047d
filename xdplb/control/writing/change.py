"""A change to the state: as it is asked for, and as it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xdplb.control.state.snapshot import KnownHealth, Snapshot

__all__ = ["Change", "Edit"]

Edit = Callable[[Snapshot], Snapshot]
"""A change to the state: see xdplb.control.edits. It may be asked for its outcome more than once."""


@dataclass(frozen=True, slots=True)
class Change:
    """The state before a change and after it, the same one when nothing was to be changed, and the health then."""

    before: Snapshot
    after: Snapshot
    health: Mapping[int, KnownHealth]
