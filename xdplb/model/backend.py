"""A backend: a host that answers for a VIP. What was asked of it, and what is so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from .errors import InvalidError
from .vip import Forward

__all__ = ["WEIGHT_RANGE", "AdminState", "Backend", "Health"]

WEIGHT_RANGE = (0, 65535)


class AdminState(StrEnum):
    """What the operator asked: serve, finish what is open and take nothing new, or take nothing at all."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class Health(StrEnum):
    """What the checks say: no result yet, usable, or failed."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend of one VIP as asked for. Weight 0 takes no new connections and keeps its open ones."""

    address: IPv4Address
    weight: int = 1
    forward: Forward | None = None
    admin_state: AdminState = AdminState.READY

    def __post_init__(self) -> None:
        low, high = WEIGHT_RANGE
        if not low <= self.weight <= high:
            raise InvalidError.field(
                "/weight", f"weight {self.weight} is out of range", hint=f"give a whole number from {low} to {high}"
            )
