"""A backend: a host that answers for a VIP. What was asked of it, and what is so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from .address import IPAddress
from .errors import InvalidError
from .vip import Forward

__all__ = ["SERVER_ID_HINT", "SERVER_ID_PATTERN", "WEIGHT_RANGE", "AdminState", "Backend", "Health"]

WEIGHT_RANGE = (0, 65535)
SERVER_ID_PATTERN = r"^([0-9a-f]{2}){1,8}$"
SERVER_ID_HINT = "1 to 8 bytes as lower-case hex, such as 00a7"


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
    """A backend of one VIP as asked for. Weight 0 takes no new connections and keeps its open ones.

    `quic_server_id` are the bytes, in hex, that this backend puts into the QUIC connection IDs it gives out.
    """

    address: IPAddress
    weight: int = 1
    forward: Forward | None = None
    admin_state: AdminState = AdminState.READY
    quic_server_id: str | None = None

    def __post_init__(self) -> None:
        low, high = WEIGHT_RANGE
        if not low <= self.weight <= high:
            raise InvalidError.field(
                "/weight", f"weight {self.weight} is out of range", hint=f"give a whole number from {low} to {high}"
            )
        if self.quic_server_id is not None and not re.fullmatch(SERVER_ID_PATTERN, self.quic_server_id):
            raise InvalidError.field(
                "/quic_server_id",
                f"{self.quic_server_id!r} is no server ID",
                hint=SERVER_ID_HINT,
            )
