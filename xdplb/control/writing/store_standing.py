# SPDX-License-Identifier: Apache-2.0
"""How a balancer stands to the store that it shares with others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["Standing", "StoreState"]


class StoreState(StrEnum):
    """How a balancer stands to the store. The words are in the API, and never change.

    AWAY: it does not answer. JOINING: it is not known yet how what is here and there go together. APART: they do not.
    """

    UP = "up"
    AWAY = "away"
    JOINING = "joining"
    APART = "apart"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a balancer stands to the store, why, and since when by the steady clock; `revision` is the store's."""

    state: StoreState
    reason: str
    since: datetime
    revision: int = 0
    writes: int = 0
    conflicts: int = 0
